//! The privacy report under a device's signature, as a file that people can keep, read
//! and check without the device or the server.

use adafed_algorithm::{ImportanceRule, Retention, ScaleRule};
use adafed_privacy::report::{Difference, PrivacyReport, Source, Sources, differences};
use serde::{Deserialize, Serialize};

use crate::plan::TaskPlan;
use crate::signature::{DeviceKey, verify_report};
use crate::{DeviceId, Error};

/// What error messages call it.
const NAME: &str = "privacy report";
/// Longest file that is read, in bytes.
const LIMIT: usize = 64 << 20;

/// A report, the plans it is about, and who stands for it.
///
/// The signature covers the compact JSON of `device`, `report` and `plans`. A file may be
/// laid out otherwise: reading it refuses unknown fields and gives numbers back to the
/// bit, so that the same compact JSON follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReport {
    /// The device.
    #[serde(with = "text")]
    pub device: DeviceId,
    /// What it has spent.
    pub report: PrivacyReport,
    /// The whole plan of each task in the report, which digests in it name.
    pub plans: Vec<TaskPlan>,
    /// The device's public key; the name follows from it.
    #[serde(with = "key")]
    pub public_key: [u8; 32],
    /// Signature, hexadecimal.
    pub signature: String,
}

/// What the signature covers, in this order.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(with = "text")]
    device: &'a DeviceId,
    report: &'a PrivacyReport,
    plans: &'a [TaskPlan],
}

impl Document<'_> {
    fn bytes(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(malformed)
    }
}

/// What came of checking a report; each part is independent of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Whether the document is what the holder of the key signed.
    pub signature: bool,
    /// The device's name, where it is not that of the key.
    pub device: Vec<Difference>,
    /// Where plans, their digests and what the report says of them differ.
    pub plans: Vec<Difference>,
    /// Where figures are not those that follow from the events.
    pub numbers: Vec<Difference>,
}

impl Check {
    /// Whether everything holds.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.signature && self.differences().next().is_none()
    }

    /// Every difference, in the order of the parts.
    pub fn differences(&self) -> impl Iterator<Item = &Difference> {
        self.device.iter().chain(&self.plans).chain(&self.numbers)
    }
}

impl SignedReport {
    /// Signs a report with the device's key.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the report cannot be written as JSON.
    pub fn sign(
        report: PrivacyReport,
        plans: Vec<TaskPlan>,
        key: &DeviceKey,
    ) -> Result<Self, Error> {
        let (device, public_key) = (key.device(), key.public_key());
        let document = Document { device: &device, report: &report, plans: &plans };
        let signature = key.sign_report(&document.bytes()?);
        Ok(Self { device, report, plans, public_key, signature })
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`Error::TooLarge`], or [`Error::Malformed`] with line and reason.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        if text.len() > LIMIT {
            return Err(Error::TooLarge { what: NAME, bytes: text.len(), limit: LIMIT });
        }
        serde_json::from_str(text).map_err(malformed)
    }

    /// The text of a file, laid out for people.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        Ok(serde_json::to_string_pretty(self).map_err(malformed)? + "\n")
    }

    /// Checks signature, name, plans and figures, each by itself, from this alone.
    ///
    /// # Guarantee
    /// Where [`Check::is_true`], the holder of the key that the device is named after says
    /// that it agreed to these plans and was charged these events, and every figure
    /// follows from them. It may still be another device than the reader thinks of:
    /// compare the name.
    #[must_use]
    pub fn check(&self) -> Check {
        let Self { device, report, plans, public_key, signature } = self;
        let document = Document { device, report, plans };
        let signed = document.bytes().and_then(|b| verify_report(public_key, &b, signature));
        let own = DeviceId::of_key(public_key);
        let name = (own != *device).then(|| Difference::new("device".into(), device, own));
        let inside = |d: Difference| Difference { field: format!("report.{}", d.field), ..d };
        Check {
            signature: signed.is_ok(),
            device: name.into_iter().collect(),
            plans: self.check_plans(),
            numbers: report.check().into_iter().map(inside).collect(),
        }
    }

    /// Each task needs its plan, whose digest the device agreed to; no plan is idle.
    fn check_plans(&self) -> Vec<Difference> {
        let mut found = Vec::new();
        for index in 0..self.report.tasks.len() {
            found.extend(self.check_task(index));
        }
        for (index, plan) in self.plans.iter().enumerate() {
            if !self.report.tasks.iter().any(|t| t.task == plan.task.as_str()) {
                let field = format!("plans[{index}]");
                found.push(Difference::new(field, &plan.task, "a task of the report"));
            }
        }
        found
    }

    fn check_task(&self, index: usize) -> Vec<Difference> {
        let task = &self.report.tasks[index];
        let at = |field: &str| format!("report.tasks[{index}].{field}");
        let Some(place) = self.plans.iter().position(|p| p.task.as_str() == task.task) else {
            return vec![Difference::new(at("plan_digest"), &task.plan_digest, "no plan attached")];
        };
        let plan = &self.plans[place];
        let mut found = Vec::new();
        match plan.check().and_then(|()| plan.digest()) {
            Ok(digest) if digest.to_string() == task.plan_digest => {}
            Ok(digest) => {
                // Either may have been changed: both are named.
                let digest = digest.to_string();
                found.push(Difference::new(at("plan_digest"), &task.plan_digest, &digest));
                let field = format!("plans[{place}]");
                found.push(Difference::new(field, digest, &task.plan_digest));
            }
            Err(e) => found.push(Difference::new(format!("plans[{place}]"), "unusable", e)),
        }
        found.extend(differences(&at("plan"), &task.plan, &plan.privacy));
        found.extend(differences(&at("sources"), &task.sources, &Some(plan.sources())));
        found
    }
}

impl TaskPlan {
    /// Where mask and scale state of the task come from.
    ///
    /// A server that sends something else can send nothing but what it has: releases.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let algorithm = &self.algorithm;
        let random = algorithm.importance == ImportanceRule::Random;
        let mask = match algorithm.retention {
            kept if kept == Retention::full() => Source::Unused,
            _ if random => Source::Public,
            _ => Source::Released,
        };
        let plain = algorithm.scale.rule == ScaleRule::None && !algorithm.scale.centre;
        Sources { mask, scale: if plain { Source::Unused } else { Source::Released } }
    }
}

fn malformed(e: serde_json::Error) -> Error {
    Error::Malformed { what: NAME, reason: e.to_string() }
}

/// Names as text, where people read.
mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::DeviceId;

    pub(super) fn serialize<S: Serializer>(id: &DeviceId, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<DeviceId, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A key as hexadecimal digits.
mod key {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(key))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let mut key = [0; 32];
        let text = String::deserialize(d)?;
        let expected = |_| serde::de::Error::custom("a public key is 64 hexadecimal digits");
        hex::decode_to_slice(&text, &mut key).map_err(expected)?;
        Ok(key)
    }
}
