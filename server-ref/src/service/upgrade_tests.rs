//! A database of an earlier version, and what becomes of it.

use adafed_wire::TaskSettings;

use crate::testing::{Fixture, name, plan};
use crate::{Phase, TaskState};

/// Written by schema version 1: one committed round, and one with two devices seated and one
/// update taken.
const VERSION_1: &str = include_str!("../../tests/upgrade/version-1.sql");
/// What the server of that version said the task had cost.
const EPSILON: f64 = 1.9174525942973772;

#[tokio::test]
async fn a_database_of_the_first_version_opens_and_its_round_goes_on() {
    let mut f = Fixture::of_sql(VERSION_1).await;
    for _ in 0..2 {
        let status = f.service.task_status(&name("task")).await.unwrap();
        assert_eq!((status.state, status.phase), (TaskState::Running, Phase::Selecting));
        assert_eq!((status.round, status.participants, status.reports), (1, 2, 1));
        assert_eq!((status.active_coordinates, status.parameters), (6, 12));
        assert_eq!((status.epsilon, status.settings), (EPSILON, TaskSettings::default()));
        assert_eq!(status.plan, plan("task").digest().unwrap(), "devices keep its digest");
        let model = f.service.model(&name("task")).await.unwrap();
        assert_eq!(model, [-0.3125; 12]);
        f.restart().await;
    }
    f.assigned("task").await;
    f.clock.advance(60_000);
    f.service.tick().await.unwrap();
    let status = f.service.task_status(&name("task")).await.unwrap();
    assert_eq!(status.round, 2, "the update of the earlier version is in the model");
    assert_ne!(f.service.model(&name("task")).await.unwrap(), [-0.3125; 12]);
    let report = f.service.privacy_report(&name("task")).await.unwrap();
    assert_eq!(report.devices.len(), 5, "no charge is lost");
}
