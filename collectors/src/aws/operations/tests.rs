#![allow(clippy::unwrap_used)]

use super::*;

const CALLS: &str = include_str!("../../../definitions/aws/model/operations.txt");

#[test]
fn every_call_of_the_list_is_known_with_its_shapes() {
    for (id, text) in SERVICES {
        read(text).unwrap_or_else(|e| panic!("{id}: {e}"));
    }
    for call in CALLS.lines() {
        assert_eq!(operation(call).unwrap_or_else(|| panic!("{call} is not known")).call(), call);
    }
    assert!(
        operation("backup.StartBackupJob").is_none() && operation("nothing.List").is_none() && operation("").is_none()
    );
}

#[test]
fn services_and_exceptions_are_sorted_so_that_they_are_found() {
    assert!(SERVICES.is_sorted_by(|(one, _), (other, _)| one < other));
    assert!(ACTIONS.is_sorted_by(|(one, _), (other, _)| one < other));
}
