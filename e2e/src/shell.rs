//! Running other programs: captured output, a time limit, and an error that says what was run and what it said.
//!
//! A program that outlives its limit is killed with all its children (it has a process group of its own).

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// It could not be started.
    #[error("`{program}` cannot be started: {source}")]
    Start {
        /// The program's name.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended with a failure; the last lines of what it said are there.
    #[error("`{command}` ended with {status}:\n{said}")]
    Failed {
        /// The command line, shortened.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The tail of standard output and standard error.
        said: String,
    },
    /// It did not end in time and was killed.
    #[error("`{command}` did not end within {limit:?}:\n{said}")]
    TimedOut {
        /// The command line, shortened.
        command: String,
        /// The limit.
        limit: Duration,
        /// The tail of standard output and standard error.
        said: String,
    },
}

/// One program to run.
#[derive(Debug)]
pub struct Shell {
    command: Command,
    limit: Duration,
    input: Vec<u8>,
    echo: bool,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Said {
    /// Standard output as text without the last line end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim_end().to_owned()
    }
}

impl Shell {
    /// A program found in `PATH` or by path, with a limit of five minutes.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        Self {
            command,
            limit: Duration::from_mins(5),
            input: Vec::new(),
            echo: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes a variable of its environment.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets the folder that it runs in.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets how long it may run.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets what it reads on standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Shows its output line by line while it runs, indented, as well as capturing it.
    #[must_use]
    pub fn echo(mut self) -> Self {
        self.echo = true;
        self
    }

    /// Runs it to its end and gives standard output as text. A failure is an error.
    pub fn read(self) -> Result<String, ShellError> {
        self.run().map(|said| said.text())
    }

    /// Runs it to its end. A failure is an error.
    pub fn run(self) -> Result<Said, ShellError> {
        let line = self.line();
        let said = self.try_run()?;
        if said.status.success() {
            return Ok(said);
        }
        let text = format!("{}\n{}", said.text(), said.err);
        Err(ShellError::Failed {
            command: line,
            status: said.status,
            said: tail(&text),
        })
    }

    /// Runs it to its end; how it ended is for the caller to judge.
    pub fn try_run(mut self) -> Result<Said, ShellError> {
        let line = self.line();
        let mut child = self.spawn_piped()?;
        if let Some(mut stdin) = child.stdin.take() {
            let input = std::mem::take(&mut self.input);
            // A program that does not read all of its input is its own affair.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let out = reader(child.stdout.take(), self.echo);
        let err = reader(child.stderr.take(), self.echo);
        let status = wait(&mut child, self.limit);
        let grace = Duration::from_secs(5); // a grandchild may hold the pipe for ever
        let out = out.recv_timeout(grace).unwrap_or_default();
        let err = String::from_utf8_lossy(&err.recv_timeout(grace).unwrap_or_default()).into_owned();
        match status {
            Some(status) => Ok(Said { out, err, status }),
            None => Err(ShellError::TimedOut {
                command: line,
                limit: self.limit,
                said: tail(&format!("{}\n{err}", String::from_utf8_lossy(&out))),
            }),
        }
    }

    /// Starts it and leaves it running; it is killed when the handle is dropped.
    pub fn spawn(mut self) -> Result<Background, ShellError> {
        self.spawn_piped().map(Background)
    }

    fn spawn_piped(&mut self) -> Result<Child, ShellError> {
        self.command.stdin(if self.input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        });
        self.command.spawn().map_err(|source| ShellError::Start {
            program: self.command.get_program().to_string_lossy().into_owned(),
            source,
        })
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let line = words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        line.chars().take(LINE_SHOWN).collect()
    }
}

/// A program that runs in the background until this is dropped.
#[derive(Debug)]
pub struct Background(Child);

impl Background {
    /// Its standard output.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.0.stdout.take()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        kill_group(&mut self.0);
    }
}

/// Waits for the end of a child, killing its group at the limit. `None` = it was killed.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            kill_group(child);
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn kill_group(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.kill();
    let _ = child.wait();
}

fn reader(pipe: Option<impl Read + Send + 'static>, echo: bool) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe {
            let mut block = [0; 16 * 1024];
            let mut shown = 0;
            while let Ok(read @ 1..) = pipe.read(&mut block) {
                all.extend_from_slice(&block[..read]);
                while let Some(end) = all[shown..].iter().position(|byte| *byte == b'\n') {
                    if echo {
                        eprintln!("    {}", String::from_utf8_lossy(&all[shown..shown + end]));
                    }
                    shown += end + 1;
                }
            }
        }
        let _ = send.send(all);
    });
    receive
}

/// The last lines of a text.
pub fn tail(text: &str) -> String {
    let lines: Vec<_> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

const LINE_SHOWN: usize = 300;
const LINES_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_input_pass_through() {
        assert_eq!(Shell::new("cat").input("one\ntwo\n").read().unwrap(), "one\ntwo");
    }

    #[test]
    fn a_failure_says_what_was_run_and_what_it_said() {
        let error = Shell::new("sh")
            .args(["-c", "echo sorry >&2; exit 3"])
            .run()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("sorry"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let shell = Shell::new("sh").args(["-c", "echo before; sleep 600 & sleep 600"]);
        let error = shell.limit(Duration::from_millis(300)).run().unwrap_err();
        assert!(
            matches!(&error, ShellError::TimedOut { said, .. } if said == "before"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Shell::new("no-such-program").run().unwrap_err().to_string();
        assert!(error.contains("no-such-program"), "{error}");
    }
}
