//! How good a model is, by the word of those who have examples to try it on.

use adafed_wire::TaskId;
use serde::Deserialize;
use tracing::info;
use utoipa::ToSchema;

use super::Service;
use crate::Error;
use crate::report::Evaluation;
use crate::store::{Tx, evaluations, tasks};

/// Loss and accuracy of a model on the examples of an evaluator.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEvaluation {
    /// Rounds that the model has seen.
    #[schema(minimum = 0)]
    pub round: u64,
    /// Mean loss over its examples.
    pub loss: f64,
    /// Share of its examples that the model gets right.
    #[schema(minimum = 0, maximum = 1)]
    pub accuracy: Option<f64>,
    /// Number of its examples.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_u64)]
    pub examples: u64,
}

/// Most examples of an evaluation.
const MOST_EXAMPLES: u64 = 1_000_000_000_000;

impl NewEvaluation {
    fn check(&self) -> Result<(), Error> {
        let refuse = |name, expected| Err(Error::Setting { name, expected });
        if !self.loss.is_finite() {
            return refuse("loss", "a finite number");
        }
        if self.accuracy.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return refuse("accuracy", "a number in [0, 1]");
        }
        if !(1..=MOST_EXAMPLES).contains(&self.examples) {
            return refuse("number of examples", "1 to 1000000000000");
        }
        Ok(())
    }
}

impl Service {
    /// Keeps an evaluation; a second one of the same evaluator and round replaces the first.
    ///
    /// # Errors
    /// [`Error::Setting`] names what is out of range; [`Error::UnknownTask`];
    /// [`Error::UnknownRound`] for a model that there is not yet; those of the database.
    pub async fn evaluate(
        &self,
        task: &TaskId,
        evaluator: &str,
        new: NewEvaluation,
    ) -> Result<Evaluation, Error> {
        new.check()?;
        let NewEvaluation { round, loss, accuracy, examples } = new;
        let (evaluator, reported_ms) = (evaluator.to_owned(), self.now_ms());
        let evaluation = Evaluation { round, evaluator, loss, accuracy, examples, reported_ms };
        let (name, kept) = (task.clone(), evaluation.clone());
        let insert = async move |tx: &mut Tx| {
            let current = tasks::find(tx, &name).await?.round;
            if kept.round > current {
                return Err(Error::UnknownRound { round: kept.round, current });
            }
            evaluations::insert(tx, &name, &kept).await
        };
        self.0.store.run_tx("evaluate", insert).await?;
        info!(%task, round, evaluator = evaluation.evaluator, "model evaluated");
        Ok(evaluation)
    }

    /// Every evaluation of a task, by round and evaluator.
    ///
    /// # Errors
    /// [`Error::UnknownTask`]; those of the database.
    pub async fn evaluations(&self, task: &TaskId) -> Result<Vec<Evaluation>, Error> {
        let name = task.clone();
        let read = async move |tx: &mut Tx| {
            tasks::find(tx, &name).await?;
            evaluations::of_task(tx, &name).await
        };
        self.0.store.read_tx("evaluations", read).await
    }
}
