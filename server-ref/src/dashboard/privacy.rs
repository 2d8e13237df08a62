//! What the task has cost its devices, in words that can be checked.

use adafed_privacy::Adjacency;
use maud::{Markup, html};

use super::TaskDetail;
use super::chart::plain;
use super::format::{count, counted, epsilon};
use super::parts::{epsilon_figure, figure, optional};
use crate::report::{PrivacyReport, PrivacyUnit};

/// The paragraph about privacy and its figures.
pub(super) fn section(task: &TaskDetail) -> Markup {
    let report = &task.privacy;
    html! {
        section.panel.privacy #privacy data-part aria-labelledby="privacy-heading" {
            h2 #privacy-heading { "What is private, and how far" }
            div.columns {
                div { (guarantee(report)) (mechanism(task)) }
                (figures(report))
            }
        }
    }
}

fn guarantee(report: &PrivacyReport) -> Markup {
    let change = adjacency(report.adjacency).1;
    if report.devices.is_empty() {
        return html! {
            p {
                "No device has taken part yet, so nothing was spent. A device that takes part in "
                "every round will spend " (epsilon(report.epsilon_all_rounds)) "."
            }
        };
    }
    html! {
        p {
            "The unit of privacy is one training example on one device. Whoever sees everything "
            "that a device ever sent for this task learns a bounded amount about any one example: "
            (change) " changes the probability of whatever they see by a factor of at most "
            "e" sup { (epsilon(report.epsilon)) } ", up to an added "
            (format!("{:e}", report.delta)) ". This holds for the device that took part most "
            "often; for all others the bound is smaller or equal."
        }
    }
}

/// A neighbouring relation in a few words, and what it does to an example.
const fn adjacency(adjacency: Adjacency) -> (&'static str, &'static str) {
    match adjacency {
        Adjacency::AddRemove => ("add or remove", "adding or removing it"),
        Adjacency::ReplaceOne => ("replace one", "replacing it by another"),
        _ => ("other", "changing it as the relation allows"),
    }
}

fn mechanism(task: &TaskDetail) -> Markup {
    let plan = &task.plan.privacy;
    let (warmup, main) = (&plan.warmup, &plan.main);
    html! {
        p {
            "Each device clips every example to norm " (plain(plan.clip.value())) ", samples each "
            "with probability " (plain(plan.rate.value())) " in each of "
            (counted(plan.local_steps.into(), "noisy step", "noisy steps")) " a round, "
            "and adds noise itself, before anything leaves it: multiplier "
            (plain(warmup.noise_multiplier.value())) " in " (count(warmup.rounds))
            " rounds of warm-up and " (plain(main.noise_multiplier.value())) " in "
            (count(main.rounds)) " rounds under a mask."
        }
    }
}

fn figures(report: &PrivacyReport) -> Markup {
    let PrivacyUnit::Example = report.unit;
    let adjacency = adjacency(report.adjacency).0;
    let (devices, halted) = (report.devices.len() as u64, report.halted_devices);
    let accountant = report.accountant;
    let rows = [
        ("Largest epsilon", epsilon_figure("epsilon", report.epsilon)),
        ("by the Rényi accountant", epsilon_figure("epsilon_rdp", report.epsilon_rdp)),
        ("by the privacy loss distribution", optional("epsilon_pld", report.epsilon_pld, epsilon)),
        ("Accountant that counts", figure("accountant", accountant, accountant.to_string())),
        ("Delta", figure("delta", report.delta, format!("{:e}", report.delta))),
        ("Adjacency", figure("adjacency", report.adjacency, adjacency)),
        ("Unit", figure("unit", report.unit, "one example")),
        ("After one more round", epsilon_figure("epsilon_next_round", report.epsilon_next_round)),
        ("In every round", epsilon_figure("epsilon_all_rounds", report.epsilon_all_rounds)),
        ("Cap of a device", optional("device_epsilon_cap", report.device_epsilon_cap, epsilon)),
        ("Cap of the task", optional("task_epsilon_cap", report.task_epsilon_cap, epsilon)),
        ("Devices charged", figure("devices", devices, count(devices))),
        ("Devices at their cap", figure("halted_devices", halted, count(halted))),
    ];
    html! {
        table.figures {
            @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } }
        }
    }
}
