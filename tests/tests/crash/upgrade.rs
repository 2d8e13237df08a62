//! A server of an earlier version is replaced in the middle of a round, under real devices.

use std::path::Path;

use adafed_server::{PrivacyReport, RoundReport, TaskState};
use adafed_tests::fixture::Failure;
use sqlx::{AnyConnection, Connection, Executor};

use super::host::Host;

/// Takes out what the second version of the schema added: what is left is a database that a
/// server of the first version might have written.
const TO_VERSION_1: &str = "
    DROP TABLE controls;
    DROP TABLE operators;
    DROP TABLE evaluations;
    DROP INDEX updates_by_aggregate;
    DROP INDEX updates_with_bytes;
    DROP INDEX assignments_by_device;
    ALTER TABLE rounds DROP COLUMN stale_reports;
    ALTER TABLE rounds DROP COLUMN goal_ms;
    ALTER TABLE updates DROP COLUMN counted_in;
    ALTER TABLE updates DROP COLUMN weight;
    ALTER TABLE devices DROP COLUMN signed_ms;
    ALTER TABLE devices DROP COLUMN seen_ms;
    ALTER TABLE devices DROP COLUMN version;
    ALTER TABLE devices DROP COLUMN weight;
    ALTER TABLE devices DROP COLUMN revoked_ms;
    ALTER TABLE devices DROP COLUMN banned;
    ALTER TABLE tokens DROP COLUMN expires_ms;
    ALTER TABLE tokens DROP COLUMN weight;
    DELETE FROM _sqlx_migrations WHERE version > 1;
";

#[test]
fn an_upgrade_in_the_middle_of_a_round_loses_no_upload_and_no_charge() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut host = Host::start(folder.path())?;
    host.create_task(1, 3, 3)?;
    let token = host.token(3)?;
    let device = |host: &Host, n: u64, pause: &str| {
        host.device(&folder.path().join(format!("device-{n}")), &token, n, pause)
    };
    let mut first = device(&host, 1, "")?;
    let mut second = device(&host, 2, "")?;
    let mut third = device(&host, 3, "Released")?;
    first.wait_for("Uploaded")?;
    second.wait_for("Uploaded")?;
    third.wait_for("Released")?;
    host.kill_and_restart_after(downgrade)?;
    let after = host.status()?;
    assert_eq!((after.round, after.participants, after.reports), (0, 3, 2));
    third.kill()?;
    let _third = device(&host, 3, "")?;
    host.wait("the end", |s| s.state == TaskState::Finished)?;
    let rounds: Vec<RoundReport> = host.get("/v1/tasks/test/rounds")?;
    assert!(rounds.iter().all(|r| r.reports == 3), "each device counts once a round");
    let privacy: PrivacyReport = host.get("/v1/tasks/test/privacy")?;
    assert_eq!(privacy.devices.len(), 3);
    assert!(privacy.devices.iter().all(|d| d.rounds_charged == 4), "no charge is forgotten");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn downgrade(database: &Path) -> Result<(), Failure> {
    sqlx::any::install_default_drivers();
    let address = format!("sqlite://{}", database.display());
    let mut connection = AnyConnection::connect(&address).await?;
    connection.execute(TO_VERSION_1).await?;
    Ok(connection.close().await?)
}
