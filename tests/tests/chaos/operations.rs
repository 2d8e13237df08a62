//! What can happen to servers and devices, and how it is drawn.

use serde::{Deserialize, Serialize};

use super::random::Random;

/// One run: a small task, and what happens to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Where it was drawn from; draws the updates' values again.
    pub(crate) seed: u64,
    pub(crate) database: Database,
    pub(crate) task: Task,
    pub(crate) operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Database {
    /// One replica.
    Sqlite,
    /// Two replicas.
    Postgres,
}

/// Size of the task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    pub(crate) coordinates: usize,
    pub(crate) rounds: u64,
    pub(crate) devices: usize,
    pub(crate) cohort: u32,
    pub(crate) report_goal: u32,
    pub(crate) least_reports: u32,
}

/// Devices and replicas are counted round and round, so that any number names one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Operation {
    /// One device acts.
    Act(Act),
    /// Several devices act at once.
    Together(Vec<Act>),
    /// A device acts, and a replica is killed so much later.
    KillDuring { act: Act, replica: usize, after_us: u64 },
    /// A replica is killed between requests.
    Kill { replica: usize },
    /// A replica that is down comes back.
    Start { replica: usize },
    /// A device acts, and so much later the database dies and comes back; PostgreSQL only.
    RestartDatabase { act: Act, after_us: u64 },
    /// The clock of all replicas moves.
    StepClock { ms: i64 },
    /// No room is left for the database; SQLite only.
    FillDisk,
    /// There is room again.
    FreeDisk,
    /// A device does nothing for so many operations.
    Pause { device: usize, operations: usize },
}

/// What one device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Act {
    pub(crate) device: usize,
    pub(crate) replica: usize,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// The honest next step: upload what is owed, otherwise ask for work.
    Next,
    /// Ask for work, whatever is owed.
    CheckIn,
    /// Ask for work, signed by a clock that is wrong by so much.
    Skewed { ms: i64 },
    /// An update of the newest round but so many that the device was asked to join.
    Upload { back: usize, how: How },
    /// The device's last request, byte by byte.
    Replay,
}

/// How an update is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// Right; sent before or not, signed anew.
    Right,
    /// Other values than the device's own.
    Other,
    /// Of another version of the message format.
    Version,
    /// Made under another plan.
    Plan,
    /// Made under another mask.
    Mask,
    /// Made from another model.
    Model,
    /// Signed by another key.
    Foreign,
    /// Cut short.
    Cut,
}

impl Case {
    pub(crate) fn draw(seed: u64, database: Database, operations: usize) -> Self {
        let mut random = Random::new(seed);
        let devices = 4 + random.below(4);
        let cohort = 3 + random.below(devices - 2);
        let goal = 1 + random.below(cohort);
        let task = Task {
            // Large updates now and then: small ones always find room in half-full pages.
            coordinates: [12, 25, 40, 1_500][random.below(4)],
            rounds: 3 + random.below(5) as u64,
            devices,
            cohort: cohort as u32,
            report_goal: goal as u32,
            least_reports: 1 + random.below(goal) as u32,
        };
        let operations = (0..operations).map(|_| draw(&mut random, database)).collect();
        Self { seed, database, task, operations }
    }
}

fn draw(random: &mut Random, database: Database) -> Operation {
    let replica = random.below(2);
    match random.below(100) {
        0..70 => Operation::Act(act(random)),
        70..78 => Operation::Together((0..2 + random.below(2)).map(|_| act(random)).collect()),
        78..84 => {
            let after_us = random.below(2_500) as u64;
            Operation::KillDuring { act: act(random), replica, after_us }
        }
        84..86 => Operation::Kill { replica },
        86..89 => Operation::Start { replica },
        89..95 => Operation::StepClock { ms: step(random) },
        95..98 if database == Database::Postgres => {
            Operation::RestartDatabase { act: act(random), after_us: random.below(2_500) as u64 }
        }
        95..97 => Operation::FillDisk,
        97 => Operation::FreeDisk,
        _ => Operation::Pause { device: random.below(8), operations: 1 + random.below(20) },
    }
}

fn act(random: &mut Random) -> Act {
    let (device, replica) = (random.below(8), random.below(2));
    let what = match random.below(20) {
        0..12 => What::Next,
        12..14 => What::CheckIn,
        14 => What::Skewed { ms: [-400_000, -200_000, 100_000, 400_000][random.below(4)] },
        15..18 => What::Upload { back: random.below(3), how: how(random) },
        _ => What::Replay,
    };
    Act { device, replica, what }
}

fn how(random: &mut Random) -> How {
    const WRONG: [How; 7] =
        [How::Other, How::Version, How::Plan, How::Mask, How::Model, How::Foreign, How::Cut];
    if random.below(2) == 0 { How::Right } else { WRONG[random.below(WRONG.len())] }
}

/// Up to and beyond a round's deadline, and back.
fn step(random: &mut Random) -> i64 {
    [1, 1_000, 30_000, 61_000, 61_000, -1_000, -30_000, -90_000][random.below(8)]
}

#[test]
fn cases_come_back_from_their_files() {
    let case = Case::draw(5, Database::Postgres, 300);
    let text = serde_json::to_string(&case).unwrap();
    assert_eq!(serde_json::from_str::<Case>(&text).unwrap(), case);
}
