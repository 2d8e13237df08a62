//! What may be true, given what devices were told: worlds of which at least one must explain
//! everything that is seen.
//!
//! A world is the server's behaviour written down a second time, over sets of devices
//! instead of counts and tables. Where an answer is lost, where several requests race, or
//! where the server may close a round by itself, there are several worlds; what is seen
//! later tells them apart. No world left is a failure.

use std::collections::BTreeMap;
use std::fmt::Debug;

use adafed_server::Phase;

use super::operations::Task;

/// Largest accepted distance between signing and arrival.
pub(crate) const WINDOW_MS: u64 = 5 * 60 * 1000;
/// From a round's first seat to its end.
pub(crate) const DEADLINE_MS: u64 = 60_000;
/// Learning rate and momentum of the task.
pub(crate) const RATE: f64 = 0.5;
pub(crate) const MOMENTUM: f64 = 0.75;

/// A request as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) device: usize,
    pub(crate) signed_ms: u64,
    pub(crate) about: About,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    CheckIn,
    /// The right update number `upload` of the round.
    Upload {
        round: usize,
        upload: usize,
    },
    /// Refused for what it is about.
    Wrong(&'static str),
    /// Refused for its form, before its signature is spent.
    Malformed(&'static str),
}

/// What a device was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Join(u64),
    Wait,
    Finished,
    Taken { duplicate: bool },
    Refused(String),
}

/// What the server published about a round, and what was uploaded to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Published {
    /// Active coordinates, and the scale of each.
    pub(crate) active: Vec<(usize, f64)>,
    /// Length of an upload's unit over the devices' steps and expected batch.
    pub(crate) unit: f64,
}

/// What all worlds share.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) seed: u64,
    pub(crate) task: Task,
    pub(crate) published: BTreeMap<usize, Published>,
    /// Values of every update that was ever made.
    pub(crate) uploads: Vec<Vec<i64>>,
    pub(crate) now_ms: u64,
    /// The latest time at which a server may still be closing a round: one that read the
    /// clock before it stepped back.
    pub(crate) closing_ms: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Round {
    pub(crate) phase: Phase,
    /// Seated devices, each with its update.
    pub(crate) seats: BTreeMap<usize, Option<usize>>,
    pub(crate) deadline_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct World {
    pub(crate) rounds: Vec<Round>,
    pub(crate) model: Vec<f32>,
    velocity: Vec<f64>,
    /// Time of the last signature taken from each device.
    spent: Vec<u64>,
    /// Requests that may still arrive: their answers were lost.
    pending: Vec<Asked>,
}

impl Round {
    const fn open() -> Self {
        Self { phase: Phase::Selecting, seats: BTreeMap::new(), deadline_ms: None }
    }

    pub(crate) fn reports(&self) -> usize {
        self.seats.values().flatten().count()
    }

    fn is_due(&self, now_ms: u64) -> bool {
        self.deadline_ms.is_some_and(|deadline| deadline <= now_ms)
    }

    const fn takes(&self) -> bool {
        matches!(self.phase, Phase::Selecting | Phase::Collecting)
    }
}

impl World {
    pub(crate) fn new(task: Task, enrolled_ms: &[u64]) -> Self {
        Self {
            rounds: vec![Round::open()],
            model: vec![0.0; task.coordinates],
            velocity: vec![0.0; task.coordinates],
            spent: enrolled_ms.to_vec(),
            pending: Vec::new(),
        }
    }

    /// What the server tells a device, and the world after that.
    fn hear(&self, known: &Known, asked: Asked) -> (Told, Self) {
        let refused = |code: &str| Told::Refused(code.to_owned());
        if known.now_ms.abs_diff(asked.signed_ms) > WINDOW_MS {
            return (refused("server/signed-at-other-time"), self.clone());
        }
        match asked.about {
            // Refused before anything is looked up, so the signature is not spent.
            About::Malformed(code) => (refused(code), self.clone()),
            _ if asked.signed_ms <= self.spent[asked.device] => {
                (refused("server/replayed"), self.clone())
            }
            about => {
                let mut next = self.clone();
                next.spent[asked.device] = asked.signed_ms;
                (next.serve(known, asked.device, about), next)
            }
        }
    }

    fn serve(&mut self, known: &Known, device: usize, about: About) -> Told {
        match about {
            About::CheckIn => self.check_in(known, device),
            About::Upload { round, upload } => self.upload(known, device, round, upload),
            About::Wrong(code) | About::Malformed(code) => Told::Refused(code.to_owned()),
        }
    }

    fn check_in(&mut self, known: &Known, device: usize) -> Told {
        let number = self.rounds.len() as u64 - 1;
        let round = self.rounds.last_mut().expect("there is always a round");
        if round.phase.is_closed() {
            return Told::Finished;
        }
        if !round.takes() || round.is_due(known.now_ms) {
            return Told::Wait;
        }
        match round.seats.get(&device) {
            Some(Some(_)) => return Told::Wait,
            Some(None) => return Told::Join(number),
            None if round.phase == Phase::Collecting => return Told::Wait,
            None => {}
        }
        round.seats.insert(device, None);
        round.deadline_ms.get_or_insert(known.now_ms + DEADLINE_MS);
        if round.seats.len() >= known.task.cohort as usize {
            round.phase = Phase::Collecting;
        }
        Told::Join(number)
    }

    fn upload(&mut self, known: &Known, device: usize, round: usize, upload: usize) -> Told {
        let round = &mut self.rounds[round];
        let refused = |code: &str| Told::Refused(code.to_owned());
        let takes = round.takes() && !round.is_due(known.now_ms);
        match round.seats.get_mut(&device) {
            None => return refused("server/not-assigned"),
            Some(Some(kept)) if *kept == upload => return Told::Taken { duplicate: true },
            Some(Some(_)) => return refused("server/other-update"),
            Some(None) if !takes => return refused("server/round-closed"),
            Some(seat) => *seat = Some(upload),
        }
        if round.reports() >= known.task.report_goal as usize {
            round.phase = Phase::Aggregating;
        }
        Told::Taken { duplicate: false }
    }

    /// Worlds to which this one may turn without anybody asking.
    fn by_itself(&self, known: &Known) -> Vec<Self> {
        let mut worlds: Vec<Self> = self.closing(known).into_iter().collect();
        for n in 0..self.pending.len() {
            let mut waiting = self.clone();
            let asked = waiting.pending.remove(n);
            worlds.push(waiting.hear(known, asked).1);
        }
        worlds
    }

    /// The world after the next step of closing the current round, where its time has come:
    /// first the set of updates is fixed, then the model takes its step.
    fn closing(&self, known: &Known) -> Option<Self> {
        let number = self.rounds.len() - 1;
        let round = &self.rounds[number];
        let enough = round.reports() >= known.task.least_reports as usize;
        let mut next = self.clone();
        let phase = &mut next.rounds[number].phase;
        match round.phase {
            Phase::Aggregating => *phase = Phase::Committed,
            _ if !round.takes() || !round.is_due(known.now_ms.max(known.closing_ms)) => {
                return None;
            }
            _ if enough => {
                *phase = Phase::Aggregating;
                return Some(next);
            }
            _ => *phase = Phase::Abandoned,
        }
        if *phase == Phase::Committed {
            next.step(known, number);
        }
        if next.rounds.len() < known.task.rounds as usize {
            next.rounds.push(Round::open());
        }
        Some(next)
    }

    /// u <- momentum u + b S unit / K, w <- w - rate u on active coordinates; frozen ones
    /// forget their velocity.
    fn step(&mut self, known: &Known, number: usize) {
        let Published { active, unit } = &known.published[&number];
        let uploads: Vec<&Vec<i64>> =
            self.rounds[number].seats.values().flatten().map(|u| &known.uploads[*u]).collect();
        let mut velocity = vec![0.0; self.velocity.len()];
        for (n, (coordinate, scale)) in active.iter().enumerate() {
            let sum: i64 = uploads.iter().map(|values| values[n]).sum();
            let mean = scale * sum as f64 * unit / uploads.len() as f64;
            velocity[*coordinate] = MOMENTUM * self.velocity[*coordinate] + mean;
            let weight = &mut self.model[*coordinate];
            *weight = (f64::from(*weight) - RATE * velocity[*coordinate]) as f32;
        }
        self.velocity = velocity;
    }
}

/// The worlds that are still possible.
#[derive(Clone, Debug)]
pub(crate) struct Worlds(Vec<World>);

/// More worlds than any run needs; beyond, something is wrong with the model.
const MOST_WORLDS: usize = 20_000;

impl Worlds {
    pub(crate) fn new(world: World) -> Self {
        Self(vec![world])
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Any of them, for messages.
    pub(crate) fn any(&self) -> &World {
        &self.0[0]
    }

    /// With everything that may happen by itself.
    fn settled(&self, known: &Known) -> Vec<World> {
        let mut all = Vec::new();
        let mut new = self.0.clone();
        while let Some(world) = new.pop() {
            if !all.contains(&world) {
                new.extend(world.by_itself(known));
                all.push(world);
            }
            assert!(all.len() < MOST_WORLDS, "too many worlds");
        }
        all
    }

    /// Devices asked and were told, all at once and in no known order.
    pub(crate) fn hear(&mut self, known: &Known, told: &[(Asked, Told)]) -> Result<(), String> {
        let mut worlds = Vec::new();
        for order in orders(told.len()) {
            let mut possible = self.clone();
            for n in order {
                let (asked, told) = &told[n];
                possible.hear_one(known, *asked, told);
            }
            possible.0.into_iter().for_each(|world| add(&mut worlds, world));
        }
        if worlds.is_empty() {
            return Err(format!("no order explains {told:?}; before: {:?}", self.any().rounds));
        }
        self.0 = worlds;
        Ok(())
    }

    fn hear_one(&mut self, known: &Known, asked: Asked, told: &Told) {
        let mut worlds = Vec::new();
        for world in self.settled(known) {
            let (predicted, world) = world.hear(known, asked);
            if predicted == *told {
                add(&mut worlds, world);
            }
        }
        self.0 = worlds;
    }

    /// A device asked and the answer was lost.
    pub(crate) fn lose(&mut self, asked: Asked) {
        self.0.iter_mut().for_each(|world| world.pending.push(asked));
    }

    /// A device asked and the server could not: nothing has changed, but for the signature,
    /// which may be spent.
    pub(crate) fn fail(&mut self, asked: Asked) {
        let mut spent = self.0.clone();
        for world in &mut spent {
            let last = &mut world.spent[asked.device];
            *last = (*last).max(asked.signed_ms);
        }
        spent.into_iter().for_each(|world| add(&mut self.0, world));
    }

    /// Whatever may have happened by itself until now has happened or not.
    pub(crate) fn settle(&mut self, known: &Known) {
        self.0 = self.settled(known);
    }

    /// What was lost has arrived by now or never will.
    pub(crate) fn forget_lost(&mut self, known: &Known) {
        let mut worlds = Vec::new();
        for mut world in self.settled(known) {
            world.pending.clear();
            add(&mut worlds, world);
        }
        self.0 = worlds;
    }

    /// Keeps the worlds in which something is so that was seen.
    pub(crate) fn see(
        &mut self,
        known: &Known,
        what: &dyn Debug,
        is_so: impl Fn(&World) -> bool,
    ) -> Result<(), String> {
        let mut worlds = self.settled(known);
        worlds.retain(is_so);
        if worlds.is_empty() {
            let before = self.any();
            return Err(format!("not explained: {what:?}; before: {:?}", before.rounds));
        }
        self.0 = worlds;
        Ok(())
    }
}

fn add(worlds: &mut Vec<World>, world: World) {
    if !worlds.contains(&world) {
        worlds.push(world);
    }
}

/// All orders of 0..n.
fn orders(n: usize) -> Vec<Vec<usize>> {
    let Some(last) = n.checked_sub(1) else { return vec![vec![]] };
    let insert = |order: Vec<usize>| {
        (0..n).map(move |at| {
            let mut order = order.clone();
            order.insert(at, last);
            order
        })
    };
    orders(last).into_iter().flat_map(insert).collect()
}
