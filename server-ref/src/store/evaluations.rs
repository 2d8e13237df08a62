//! Table `evaluations`: loss and accuracy of models, as evaluators report them.

use adafed_wire::TaskId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Tx;
use super::row::{signed, unsigned};
use crate::Error;
use crate::report::Evaluation;

/// Keeps an evaluation; a later one of the same evaluator and round replaces it.
pub(crate) async fn insert(
    tx: &mut Tx,
    task: &TaskId,
    evaluation: &Evaluation,
) -> Result<(), Error> {
    let sql = "-- evaluations::insert
        INSERT INTO evaluations (task, round, evaluator, loss, accuracy, examples, reported_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (task, round, evaluator) DO UPDATE SET
            loss = excluded.loss, accuracy = excluded.accuracy, examples = excluded.examples,
            reported_ms = excluded.reported_ms";
    let query = sqlx::query(sql)
        .bind(task.as_str())
        .bind(signed(evaluation.round))
        .bind(evaluation.evaluator.as_str())
        .bind(evaluation.loss)
        .bind(evaluation.accuracy)
        .bind(signed(evaluation.examples))
        .bind(signed(evaluation.reported_ms));
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Every evaluation of a task, by round and evaluator.
pub(crate) async fn of_task(tx: &mut Tx, task: &TaskId) -> Result<Vec<Evaluation>, Error> {
    let sql = "-- evaluations::of_task
        SELECT round, evaluator, loss, accuracy, examples, reported_ms
        FROM evaluations WHERE task = $1 ORDER BY round, evaluator";
    let query = sqlx::query(sql).bind(task.as_str());
    query.fetch_all(tx.connection()).await?.iter().map(evaluation).collect()
}

fn evaluation(row: &AnyRow) -> Result<Evaluation, Error> {
    Ok(Evaluation {
        round: unsigned(row, "round")?,
        evaluator: row.try_get("evaluator")?,
        loss: row.try_get("loss")?,
        accuracy: row.try_get("accuracy")?,
        examples: unsigned(row, "examples")?,
        reported_ms: unsigned(row, "reported_ms")?,
    })
}
