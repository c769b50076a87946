//! The first visit after the password: a few questions, each step a plain form that carries the
//! answers before it, then the plan, then the change. Nothing is changed before the last button.

use lintel_api::types::{ConfigApplied, ConfigShown};
use lintel_model::config::{self, Config};
use minijinja::context;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Done, Form, Stop, Visit, field, sentence, shown};
use crate::first_visit::{Question, STEPS, answered};
use crate::webd::app::view::plan::PlanView;

/// The password before, the plan after.
const AROUND: usize = 2;

/// One question with its answer.
#[derive(Serialize)]
struct Asked {
    title: &'static str,
    help: &'static str,
    path: &'static str,
    choices: Vec<(&'static str, &'static str)>,
    answer: String,
    problem: Option<String>,
    first: bool,
}

/// What the visitor has said so far.
struct Answers {
    /// By question, in their order.
    given: Vec<(&'static Question, String)>,
    base: Option<u64>,
    tree: Value,
    before: Config,
}

impl Visit<'_> {
    pub(super) fn welcome(&self) -> Done {
        self.owner()?;
        let answers = self.answers(&Vec::new())?;
        self.ask(200, 0, &answers, &[], None)
    }

    /// A step's buttons.
    pub(super) fn welcomed(&self, form: &Form) -> Done {
        self.owner()?;
        let answers = self.answers(form)?;
        let step = field(form, "step").parse().unwrap_or(0).min(STEPS.len());
        let go = field(form, "go");
        if go == "back" {
            return self.ask(200, step.saturating_sub(1), &answers, &[], None);
        }
        let config = match answered(answers.tree.clone()) {
            Ok(answered) => answered.config,
            Err(problems) => {
                // Where the first wrong answer was given, unless it is still to come.
                let wrong = |at: &usize| questions(*at).any(|q| is_about(&problems, q));
                match (0..STEPS.len()).find(wrong) {
                    Some(at) if at > step => return self.ask(200, step + 1, &answers, &[], None),
                    Some(at) => return self.ask(422, at, &answers, &problems, None),
                    None => return self.ask(422, step, &answers, &problems, None),
                }
            }
        };
        if step + 1 < STEPS.len() {
            return self.ask(200, step + 1, &answers, &[], None);
        }
        if config == answers.before {
            return Err(Stop::Elsewhere("/"));
        }
        if go != "done" {
            return self.review(200, &answers, &config, None);
        }
        let params = json!({
            "toml": config.to_toml(),
            "reason": "first visit",
            "if_match": answers.base.map(|base| base.to_string()),
        });
        match self.call("config.commit", params)? {
            Err(problem) => {
                self.review(problem.status, &answers, &config, Some(sentence(&problem)))
            }
            Ok(reply) => {
                let applied: ConfigApplied = Self::read("config.commit", reply)?;
                self.committed(applied, "/", |error| {
                    self.review(422, &answers, &config, Some(error))
                })
            }
        }
    }

    /// The configuration in force with the answers of the form in it.
    fn answers(&self, form: &Form) -> Result<Answers, Stop> {
        let now: ConfigShown = self.result("config.show", json!({}))?;
        let before = Config::from_json(&now.config).unwrap_or_default();
        let mut tree = serde_json::to_value(&before).unwrap_or_default();
        let mut given = Vec::new();
        for question in STEPS.iter().flat_map(|step| step.questions) {
            let said = form.iter().find(|(name, _)| name == question.path);
            let answer = match said {
                Some((_, answer)) => answer.trim().to_owned(),
                None => (question.current)(&before),
            };
            (question.put)(&mut tree, &answer);
            given.push((question, answer));
        }
        let base = match field(form, "base") {
            "" => now.revision,
            base => base.parse().ok(),
        };
        Ok(Answers {
            given,
            base,
            tree,
            before,
        })
    }

    fn ask(
        &self,
        status: u16,
        step: usize,
        answers: &Answers,
        problems: &[config::Problem],
        error: Option<String>,
    ) -> Done {
        let auth = self.owner()?;
        let here: Vec<&str> = questions(step).map(|question| question.path).collect();
        let (asked, carried): (Vec<_>, Vec<_>) = answers
            .given
            .iter()
            .partition(|(question, _)| here.contains(&question.path));
        let mut told = 0;
        let asked = asked.iter().enumerate().map(|(at, (question, answer))| {
            let mine = problems
                .iter()
                .filter(|p| p.path.starts_with(question.path));
            let mine: Vec<String> = mine.map(text).collect();
            told += mine.len();
            Asked {
                title: question.title,
                help: question.help,
                path: question.path,
                choices: question.choices.to_vec(),
                answer: answer.clone(),
                problem: (!mine.is_empty()).then(|| mine.join(" ")),
                first: at == 0,
            }
        });
        let asked: Vec<Asked> = asked.collect();
        // What no question of this step is about is told above them.
        let rest = problems.iter().filter(|problem| {
            let of_here = |path: &&str| problem.path.starts_with(path);
            told == 0 || !here.iter().any(of_here)
        });
        let rest: Vec<String> = rest.map(|p| format!("{}: {}", p.path, text(p))).collect();
        let values = context! {
            title => STEPS.get(step).map(|step| step.title),
            step,
            number => step + AROUND,
            steps => STEPS.len() + AROUND,
            base => answers.base,
            asked => shown(&asked),
            carried => carry(&carried),
            error => error.or_else(|| (!rest.is_empty()).then(|| rest.join(" "))),
            plan => (),
        };
        self.page(status, "welcome.html", &auth, values)
    }

    /// What would happen, in sentences.
    fn review(
        &self,
        status: u16,
        answers: &Answers,
        config: &Config,
        error: Option<String>,
    ) -> Done {
        let auth = self.owner()?;
        let planned = self.call("config.plan", json!({ "toml": config.to_toml() }))?;
        let (plan, error) = match planned {
            Ok(reply) => {
                let planned: ConfigApplied = Self::read("config.plan", reply)?;
                (Some(PlanView::new(&planned)), error)
            }
            Err(problem) => (None, error.or_else(|| Some(sentence(&problem)))),
        };
        let given: Vec<_> = answers.given.iter().collect();
        let values = context! {
            title => "What will happen",
            step => STEPS.len(),
            number => STEPS.len() + AROUND,
            steps => STEPS.len() + AROUND,
            base => answers.base,
            asked => Vec::<u8>::new(),
            carried => carry(&given),
            error,
            plan => plan.as_ref().map(shown),
        };
        self.page(status, "welcome.html", &auth, values)
    }
}

fn questions(step: usize) -> impl Iterator<Item = &'static Question> {
    STEPS.get(step).into_iter().flat_map(|step| step.questions)
}

fn is_about(problems: &[config::Problem], question: &Question) -> bool {
    let mut problems = problems.iter();
    problems.any(|problem| problem.path.starts_with(question.path))
}

fn text(problem: &config::Problem) -> String {
    match problem.hint.as_str() {
        "" => format!("{}.", problem.reason),
        hint => format!("{} ({hint}).", problem.reason),
    }
}

/// Answers of other steps, for hidden fields.
fn carry(given: &[&(&'static Question, String)]) -> minijinja::Value {
    let pairs: Vec<(&str, &str)> = given
        .iter()
        .map(|(question, answer)| (question.path, answer.as_str()))
        .collect();
    shown(&pairs)
}
