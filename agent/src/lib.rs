//! The agent: configuration, schedule, runs, pipeline, archive and command line of the program `evidenced`.
