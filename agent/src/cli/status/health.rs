//! `evidenced status --health`: whether the daemon is alive, for whoever restarts what is not. A restart helps a daemon that is gone or
//! hangs, and nothing else: an archive that is away, a clock that is wrong or a pause is no reason for one.

use std::{path::Path, process::ExitCode, time::Duration};

use crate::{
    control::{self, Answer, Ask},
    instance::Instance,
};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Exit code and line: 0 for a daemon that answers, and for one that holds `state_dir` without listening, as it does while it starts,
/// stops or waits for its archive; 1 for none, one that listens and does not answer, and one that may not be asked.
pub async fn told(state_dir: &Path) -> (ExitCode, String) {
    told_within(state_dir, PATIENCE).await
}

async fn told_within(state_dir: &Path, patience: Duration) -> (ExitCode, String) {
    let dead = |why: String| (ExitCode::FAILURE, why);
    let answer = async {
        match control::ask(state_dir, &Ask::Status).await? {
            Some(mut answers) => Ok::<_, std::io::Error>(Some(answers.next().await?)),
            None => Ok(None),
        }
    };
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(Some(Some(Answer::Status(_))))) => (ExitCode::SUCCESS, "the daemon answers".into()),
        // What it says else, and an end without an answer, it says while it stops.
        Ok(Ok(_)) if Instance::holder(state_dir).is_some() => {
            (ExitCode::SUCCESS, "the daemon starts, stops, or waits for its archive: its log says which".into())
        }
        Ok(Ok(_)) => dead(format!("no daemon runs with state_dir {}", state_dir.display())),
        Ok(Err(error)) => dead(format!("the daemon with state_dir {} cannot be asked: {error}", state_dir.display())),
        Err(_) => dead(format!("the daemon does not answer within {} s", patience.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::sync::mpsc;

    use super::*;
    use crate::control::{Asked, Server, Status};

    /// `ExitCode` compares by its words only.
    fn is(code: ExitCode, expected: ExitCode) -> bool {
        format!("{code:?}") == format!("{expected:?}")
    }

    async fn exits(state_dir: &Path, expected: ExitCode, with: &str) {
        let (code, said) = told_within(state_dir, Duration::from_millis(300)).await;
        assert!(is(code, expected) && said.contains(with), "{code:?}: {said}");
    }

    #[tokio::test]
    async fn nobody_is_dead_also_where_a_killed_daemon_left_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        exits(&dir.path().join("nowhere"), ExitCode::FAILURE, "no daemon runs").await;
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(control::SOCKET)).unwrap());
        exits(dir.path(), ExitCode::FAILURE, "no daemon runs").await;
    }

    #[tokio::test]
    async fn one_that_listens_and_does_not_answer_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        let _held = Instance::take(dir.path()).unwrap();
        let (send, _asked) = mpsc::channel(1);
        let _server = Server::listen(dir.path(), send).unwrap();
        exits(dir.path(), ExitCode::FAILURE, "does not answer").await;
    }

    #[tokio::test]
    async fn one_that_holds_its_state_and_does_not_listen_yet_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        let _held = Instance::take(dir.path()).unwrap();
        exits(dir.path(), ExitCode::SUCCESS, "waits for its archive").await;
    }

    #[tokio::test]
    async fn one_that_answers_is_alive_whatever_it_answers() {
        let dir = tempfile::tempdir().unwrap();
        let (send, mut asked) = mpsc::channel(1);
        let _server = Server::listen(dir.path(), send).unwrap();
        let daemon = tokio::spawn(async move {
            let Asked { answers, .. } = asked.recv().await.unwrap();
            let status = Status { trouble: Some("the archive is away".into()), ..Status::default() };
            answers.send(Answer::Status(Box::new(status))).unwrap();
        });
        exits(dir.path(), ExitCode::SUCCESS, "the daemon answers").await;
        daemon.await.unwrap();
    }
}
