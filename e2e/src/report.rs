//! What the person at the terminal sees: each step with its time as it happens, and a table of where the time went.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Steps that ran, in order, with their times.
#[derive(Debug)]
pub struct Steps {
    started: Instant,
    done: Vec<(String, Duration)>,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            done: Vec::new(),
        }
    }
}

impl Steps {
    /// Runs one step between a line that announces it and a line with its time.
    pub fn step<T, E>(&mut self, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        eprintln!("==> {name}");
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        let ended = if result.is_ok() { "done in" } else { "FAILED after" };
        eprintln!("    {name} {ended} {}", seconds(took));
        self.done.push((name.to_owned(), took));
        result
    }

    /// Runs a part that may have steps of its own; it gets a line for itself only if it had none.
    pub fn part<T>(&mut self, name: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        eprintln!("==> {name}");
        let (start, before) = (Instant::now(), self.done.len());
        let result = work(self);
        if self.done.len() == before {
            self.done.push((name.to_owned(), start.elapsed()));
        }
        eprintln!("    {name} took {}{}", seconds(start.elapsed()), disk());
        result
    }

    /// Takes the lines of steps that ran beside these.
    pub fn absorb(&mut self, beside: Self) {
        self.done.extend(beside.done);
    }

    /// The table of all steps and their sum.
    pub fn table(&self) -> String {
        let mut rows = self.done.clone();
        rows.push(("all".to_owned(), self.started.elapsed()));
        let width = rows
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        rows.iter()
            .fold("where the time went\n".to_owned(), |mut table, (name, took)| {
                let _ = writeln!(table, "  {name:width$}  {:>9}", seconds(*took));
                table
            })
    }
}

/// A duration as people read it, `12.3 s`.
pub fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// How many checks passed, failed, and could not be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Checks that held.
    pub passed: u64,
    /// Checks that did not.
    pub failed: u64,
    /// Checks that could not be made, each with a reason in the output.
    pub skipped: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// How full the disk of this folder is, as df(1) counts it: a full one makes mail servers refuse mail. Empty if it does not say.
fn disk() -> String {
    let Ok(disk) = rustix::fs::statvfs(".") else {
        return String::new();
    };
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    let all = used.saturating_add(disk.f_bavail).max(1);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize) / 1_000_000_000;
    format!(" (the disk is {} % full, {free} GB are free)", used * 100 / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_step_and_the_sum() {
        let mut steps = Steps::default();
        steps.step("bake", || Ok::<_, ()>(())).unwrap();
        steps.step("eat", || Err::<(), _>("burnt")).unwrap_err();
        let mut beside = Steps::default();
        beside.step("wash", || Ok::<_, ()>(())).unwrap();
        steps.absorb(beside);
        let table = steps.table();
        for name in ["bake", "eat", "wash", "all"] {
            assert!(table.contains(name), "{table}");
        }
    }

    #[test]
    fn counts_add_up() {
        let mut sum = Count {
            passed: 1,
            failed: 0,
            skipped: 2,
        };
        sum += Count {
            passed: 3,
            failed: 1,
            skipped: 0,
        };
        assert_eq!(sum.to_string(), "4 passed, 1 failed, 2 skipped");
    }
}
