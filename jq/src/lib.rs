//! jq, for checks and for definitions of collectors: pure, deterministic and bounded. The time of day, the environment, input and output, halting and definitions of
//! one's own are not there; what does not end is stopped after [`STEPS`] steps.
//!
//! Steps are counted where jq can go on without end: each round of `repeat`, `recurse`, `while` and `until`, and each number of
//! `range`. They are counted, not timed, so that a slow machine answers as a fast one does. The size of a value that an expression
//! builds is not bounded (`"x" * 1e9` takes a gigabyte): checks are written by those who run them.

use std::{
    cell::Cell,
    collections::{BTreeSet, HashMap},
    fmt, panic,
    sync::{Arc, LazyLock},
};

use jaq_core::{
    Compiler, Ctx, DataT, Exn, Lut, Native, Vars,
    box_iter::box_once,
    compile::Undefined,
    data::HasLut,
    load::{Arena, File, Loader, lex, parse::Def, span},
    native::Fun,
};
pub use jaq_json::Val;
use serde_json::Value;

/// After so many steps an expression is taken to have no end.
pub const STEPS: u32 = 100_000;

/// What an evaluation thread needs so that the deepest value that [`STEPS`] can build fits: only what is used is taken.
pub const STACK_BYTES: usize = 512 << 20;

/// Functions that answer differently from run to run, or act, or stop the program.
const IMPURE: [&str; 8] =
    ["now", "env", "halt", "debug_empty", "stderr_empty", "localtime", "strflocaltime", "halt_error"];

/// Definitions that rest on them.
const IMPURE_DEFINITIONS: [&str; 4] = ["stderr", "debug", "halt", "halt_error"];

/// What one may look for and not find, and why.
const REFUSED: [&str; 14] = [
    "now",
    "env",
    "input",
    "inputs",
    "halt",
    "halt_error",
    "debug",
    "stderr",
    "localtime",
    "strflocaltime",
    "input_filename",
    "input_line_number",
    "$ENV",
    "$__prog_args",
];

/// Definitions of jq that jaq does not have; and of ours: `instant` makes RFC 3339 of epoch seconds and leaves text as it is, and
/// `earlier | days_until(later)` counts days between two instants in UTC.
const MISSING: &str = "
    def IN(values): any(values == .; .);
    def IN(these; values): any(these == values; .);
    def INDEX(rows; key): reduce rows as $row ({}; .[$row | key | tostring] |= $row);
    def INDEX(key): INDEX(.[]; key);
    def instant: if type == \"number\" then (. * 1000 | floor / 1000 | todate) else . end;
    def utc_seconds: instant | if endswith(\"Z\") or endswith(\"+00:00\") then .[:19] + \"Z\" | fromdate else error(\"no instant in UTC\") end;
    def seconds_until($later): ($later | utc_seconds) - utc_seconds;
    def days_until($later): seconds_until($later) / 86400;
";

/// jq's endless generators, with a step in each round. `range` in jaq is native, and kept under another name.
const COUNTED: &str = "
    def range($from; $to; $by): range_uncounted($from; $to; $by) | step;
    def repeat(f): def rec: step | (f, rec); rec;
    def recurse(f): def rec: ., (f | step | rec); rec;
    def while(cond; update): def rec: step | if cond then ., (update | rec) else empty end; rec;
    def until(cond; update): def rec: step | if cond then . else update | rec end; rec;
";

/// A JSON value as jq takes it.
pub fn val(value: &Value) -> Val {
    serde::Deserialize::deserialize(value).unwrap_or_else(|_: serde_json::Error| Val::Null)
}

/// A jq value as JSON. Numbers that JSON has no word for are null, as jq prints them.
pub fn json(val: &Val) -> Value {
    match val {
        Val::Null => Value::Null,
        Val::Bool(bool) => Value::Bool(*bool),
        Val::Num(number) => number.to_string().parse().map_or(Value::Null, Value::Number),
        Val::BStr(bytes) | Val::TStr(bytes) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        Val::Arr(values) => values.iter().map(json).collect(),
        Val::Obj(members) => {
            let name = |key: &Val| match key {
                Val::TStr(bytes) | Val::BStr(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => other.to_string(),
            };
            Value::Object(members.iter().map(|(key, value)| (name(key), json(value))).collect())
        }
    }
}

/// An object of jq.
pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, Val)>) -> Val {
    Val::obj(members.into_iter().map(|(name, value)| (Val::from(name.to_owned()), value)).collect())
}

struct Jq;

impl DataT for Jq {
    type V<'a> = Val;
    type Data<'a> = Data<'a>;
}

#[derive(Clone, Copy)]
struct Data<'a> {
    lut: &'a Lut<Jq>,
    steps: &'a Cell<u32>,
}

impl<'a> HasLut<'a, Jq> for Data<'a> {
    fn lut(&self) -> &'a Lut<Jq> {
        self.lut
    }
}

impl Data<'_> {
    /// Halting passes through `try` and `?`; an error would not.
    fn step<'e, T>(self, value: T) -> Result<T, Exn<'e, Val>> {
        match self.steps.get().checked_sub(1) {
            None => Err(Exn::halt(1)),
            Some(left) => {
                self.steps.set(left);
                Ok(value)
            }
        }
    }
}

/// A compiled expression.
#[derive(Clone)]
pub struct Filter(Arc<jaq_core::Filter<Jq>>);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

impl Filter {
    /// Compiles `code`, which may use `variables` (with their `$`).
    ///
    /// # Errors
    /// One line for each mistake, with its place.
    pub fn compile(code: &str, variables: &[&str]) -> Result<Self, String> {
        if let Ok(tokens) = lex::Lexer::new(code).lex()
            && let Some(at) = find_definition(&tokens)
        {
            let place = place(code, at);
            return Err(format!("{place}: definitions (`def`) are not available; write the expression out"));
        }
        // Most expressions use none or few of the definitions, and compiling all of them takes a hundred times as long. What fails with
        // the few is compiled with all, whose word counts.
        compile(code, variables, needed(code))
            .or_else(|_| compile(code, variables, DEFINITIONS.iter().cloned().collect()))
    }

    /// The one value that the expression gives for `input`.
    ///
    /// # Errors
    /// In words, to follow the name of the expression: an error, no value, several values, no end.
    pub fn one(&self, variables: &[Val], input: Val) -> Result<Val, String> {
        // A bug in jq must not take the other checks' results with it.
        let run = || self.first_of_one(variables, input);
        panic::catch_unwind(panic::AssertUnwindSafe(run)).unwrap_or_else(|_| Err("made jq itself fail".into()))
    }

    fn first_of_one(&self, variables: &[Val], input: Val) -> Result<Val, String> {
        let steps = Cell::new(STEPS);
        let data = Data { lut: &self.0.lut, steps: &steps };
        let context = Ctx::<Jq>::new(data, Vars::new(variables.iter().cloned()));
        let mut values = self.0.id.run((context, input));
        let first = values.next().ok_or("gave no value")?.map_err(exception)?;
        match values.next() {
            None => Ok(first),
            Some(Ok(_)) => Err("gave more than one value".into()),
            Some(Err(error)) => Err(exception(error)),
        }
    }
}

fn exception(exception: Exn<'_, Val>) -> String {
    match exception.get_err() {
        Ok(error) => match error.into_val() {
            Val::TStr(text) => format!("gave an error: {}", String::from_utf8_lossy(&text)),
            value => format!("gave an error: {value}"),
        },
        Err(_) => format!("did not end within {STEPS} steps"),
    }
}

/// Compiles an expression with some of the definitions.
fn compile(code: &str, variables: &[&str], definitions: Vec<Def<&'static str>>) -> Result<Filter, String> {
    let arena = Arena::default();
    let modules = Loader::new(definitions).load(&arena, File { code, path: () }).map_err(|errors| {
        join(errors.into_iter().flat_map(|(_, error)| {
            match error {
                jaq_core::load::Error::Io(list) => {
                    list.into_iter().map(|(at, _)| format!("{}: modules are not available", place(code, at))).collect()
                }
                jaq_core::load::Error::Lex(list) => list
                    .into_iter()
                    .map(|(expected, at)| format!("{}: expected {}", place(code, at), expected.as_str()))
                    .collect(),
                jaq_core::load::Error::Parse(list) => list
                    .into_iter()
                    .map(|(expected, at)| {
                        let found = if at.is_empty() { "the end".to_owned() } else { format!("`{at}`") };
                        format!("{}: expected {}, found {found}", place(code, at), expected.as_str())
                    })
                    .collect::<Vec<_>>(),
            }
        }))
    })?;
    Compiler::default()
        .with_funs(functions())
        .with_global_vars(variables.iter().copied())
        .compile(modules)
        .map(|filter| Filter(Arc::new(filter)))
        .map_err(|errors| {
            join(errors.into_iter().flat_map(|(_, list)| list).map(|(name, kind)| {
                let why = if REFUSED.contains(&name) {
                    " here: an expression answers the same whenever and wherever it is asked"
                } else {
                    ""
                };
                let kind = match kind {
                    Undefined::Filter(arity) => format!("function `{name}` with {arity} arguments"),
                    other => format!("{} `{name}`", other.as_str()),
                };
                format!("{}: there is no {kind}{why}", place(code, name))
            }))
        })
}

/// The definitions that an expression can reach by the words in it, in their order. Those that count steps are always among them.
fn needed(code: &str) -> Vec<Def<&'static str>> {
    let mut wanted: Vec<bool> = DEFINITIONS.iter().map(|def| ALWAYS.contains(&def.name)).collect();
    let mut ahead: Vec<usize> = (0..wanted.len()).filter(|at| wanted[*at]).collect();
    let mut want = |words: &mut dyn Iterator<Item = &str>, ahead: &mut Vec<usize>| {
        for word in words {
            for at in BY_NAME.get(word).into_iter().flatten() {
                if !std::mem::replace(&mut wanted[*at], true) {
                    ahead.push(*at);
                }
            }
        }
    };
    want(&mut words(code), &mut ahead);
    while let Some(at) = ahead.pop() {
        want(&mut MENTIONS[at].iter().copied(), &mut ahead);
    }
    DEFINITIONS.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(def, _)| def.clone()).collect()
}

/// What may stand for a name.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '@').filter(|word| !word.is_empty())
}

/// Definitions that are there whatever an expression says: signs of jq rest on them, and steps are counted in them.
const ALWAYS: [&str; 6] = ["range", "repeat", "recurse", "while", "until", "recurse_down"];

/// Where the definitions of a name are.
static BY_NAME: LazyLock<HashMap<&'static str, Vec<usize>>> = LazyLock::new(|| {
    let mut by_name: HashMap<_, Vec<usize>> = HashMap::new();
    DEFINITIONS.iter().enumerate().for_each(|(at, def)| by_name.entry(def.name).or_default().push(at));
    by_name
});

/// The names of definitions that each definition mentions: all that stand in its parsed form, and perhaps more.
static MENTIONS: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
    let mentions = |def: &Def<&'static str>| {
        let parsed = format!("{:?}", def.body);
        let known = words(&parsed).filter_map(|word| BY_NAME.get_key_value(word)).map(|(name, _)| *name);
        known.collect::<BTreeSet<_>>().into_iter().collect()
    };
    DEFINITIONS.iter().map(mentions).collect()
});

/// jq's own definitions, without the impure ones and with the endless ones counted.
static DEFINITIONS: LazyLock<Vec<Def<&'static str>>> = LazyLock::new(|| {
    let parse = |text| jaq_core::load::parse(text, |p| p.defs()).expect("a constant that each test compiles");
    let (counted, missing) = (parse(COUNTED), parse(MISSING));
    let counts = |def: &Def<&str>| counted.iter().find(|c| c.name == def.name && c.args.len() == def.args.len());
    let given = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let kept = given.filter(|def| !IMPURE_DEFINITIONS.contains(&def.name));
    let kept: Vec<_> = kept.map(|def| counts(&def).cloned().unwrap_or(def)).collect();
    // `range`, for which jaq has no definition, comes before those that use it.
    counted[..1].iter().cloned().chain(kept).chain(missing).collect()
});

/// jq's own native functions, without the impure ones.
fn functions() -> impl Iterator<Item = Fun<Jq>> {
    let given = jaq_core::funs::<Jq>().chain(jaq_std::funs()).chain(jaq_json::funs());
    let kept = given.filter(|(name, ..)| !IMPURE.contains(name));
    let renamed = kept.map(
        |(name, args, native)| if name == "range" { ("range_uncounted", args, native) } else { (name, args, native) },
    );
    let step = Native::<Jq>::new(|cv| box_once(cv.0.data().step(cv.1)))
        .with_paths(|cv| box_once(cv.0.data().step(cv.1)))
        .with_update(|cv, update| match cv.0.data().step(cv.1) {
            Ok(value) => update(value),
            Err(halt) => box_once(Err(halt)),
        });
    renamed.chain([("step", Box::from([]), step)])
}

/// Where the word `def` is used.
fn find_definition<'s>(tokens: &[lex::Token<&'s str>]) -> Option<&'s str> {
    tokens.iter().find_map(|lex::Token(text, token)| match token {
        lex::Tok::Word if *text == "def" => Some(*text),
        lex::Tok::Block(inner) => find_definition(inner),
        lex::Tok::Str(parts) => parts.iter().find_map(|part| match part {
            lex::StrPart::Term(token) => find_definition(std::slice::from_ref(token)),
            _ => None,
        }),
        _ => None,
    })
}

/// `column 7`, or `line 2, column 7` where there are several lines. `part` is a slice of `code`.
fn place(code: &str, part: &str) -> String {
    let start = span(code, part).start;
    let before = code.get(..start).unwrap_or(code);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    if code.trim_end().contains('\n') {
        format!("line {}, column {column}", before.matches('\n').count() + 1)
    } else {
        format!("column {column}")
    }
}

fn join(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(code: &str) -> Result<String, String> {
        let filter = Filter::compile(code, &["$parameters"])?;
        let input = jaq_json::read::parse_single(br#"{"a": 1, "list": [1, 2, 3]}"#).unwrap();
        let parameters = jaq_json::read::parse_single(br#"{"days": 90}"#).unwrap();
        filter.one(&[parameters], input).map(|value| value.to_string())
    }

    /// In a thread with the stack that evaluation has.
    fn deep(code: &'static str) -> Result<String, String> {
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || run(code)).unwrap().join().unwrap()
    }

    #[test]
    fn one_value_is_taken_and_none_or_several_are_not() {
        assert_eq!(run(".a == 1").unwrap(), "true");
        assert_eq!(run("$parameters.days - 1").unwrap(), "89");
        assert_eq!(run("empty").unwrap_err(), "gave no value");
        assert_eq!(run(".list[]").unwrap_err(), "gave more than one value");
        assert!(run(".a[]").unwrap_err().starts_with("gave an error: "));
        assert_eq!(run("true, error(\"late\")").unwrap_err(), "gave an error: late");
    }

    #[test]
    fn usual_functions_of_jq_are_there() {
        for (code, answer) in [
            ("[.list[] | select(. > 1)] | length", "2"),
            (".list | any(. == 3)", "true"),
            (".a | IN(1, 2)", "true"),
            ("\"sshd_config\" | test(\"^sshd\")", "true"),
            ("[range(3)] | add", "3"),
            ("[limit(3; repeat(1))] | length", "3"),
            ("[1 | while(. < 100; . * 2)] | last", "64"),
            ("1 | until(. > 100; . * 2)", "128"),
            ("[{\"x\": [1]} | recurse(.[]?)] | length", "3"),
            ("[paths] | length", "5"),
            ("\"2026-11-22T00:00:00Z\" | fromdateiso8601", "1795305600"),
            (".list | index(2)", "1"),
            ("[..] | length", "6"),
            ("first(.list[])", "1"),
            (".list |= map(. + 1) | .list", "[2,3,4]"),
            ("(recurse(.[]?) | numbers) |= . + 1 | .a", "2"),
            ("{\"def\": 1} | .def", "1"),
            ("[{\"k\": \"x\"}] | INDEX(.k) | keys", "[\"x\"]"),
            ("1795305600.5 | instant", "\"2026-11-22T00:00:00.5Z\""),
            ("1795305600 | instant", "\"2026-11-22T00:00:00Z\""),
            ("\"2026-11-20T00:00:00+00:00\" | days_until(\"2026-11-22T00:00:00.123Z\")", "2.0"),
            (
                "[\"2026-11-22T00:00:00.5+00:00\", 1795305600.9 | seconds_until(\"2026-11-22T01:00:00Z\")]",
                "[3600,3600]",
            ),
            (
                "[\"2026-11-22T00:00:00+01:00\", \"2026-11-22\", \"Z\" | try seconds_until(\"2026-11-22T01:00:00Z\") catch null]",
                "[null,null,null]",
            ),
            ("\"a%7Bb\" | @urid", "\"a{b\""),
        ] {
            assert_eq!(run(code).as_deref(), Ok(answer), "{code}");
        }
    }

    #[test]
    fn what_depends_on_time_place_or_input_is_refused_by_name() {
        for name in ["now", "env", "input", "inputs", "halt", "debug", "stderr", "localtime", "input_filename"] {
            let error = run(&format!(".a | {name}")).unwrap_err();
            assert_eq!(
                error,
                format!(
                    "column 6: there is no function `{name}` with 0 arguments here: an expression answers the same whenever and wherever it is asked"
                )
            );
        }
        assert!(run("$ENV.HOME").unwrap_err().starts_with("column 1: there is no variable `$ENV` here"));
        assert!(run("import \"x\" as x; 1").unwrap_err().contains("modules are not available"));
        assert_eq!(
            run("1 | (def f: f; f)").unwrap_err(),
            "column 6: definitions (`def`) are not available; write the expression out"
        );
        assert!(run("\"\\(def f: 1; f)\"").unwrap_err().contains("definitions"));
    }

    #[test]
    fn mistakes_name_their_place() {
        assert_eq!(run(".a ==").unwrap_err(), "column 6: expected term, found the end");
        assert_eq!(run("(.a").unwrap_err(), "column 4: expected closing parenthesis");
        assert_eq!(run(".a\n| foo(1)").unwrap_err(), "line 2, column 3: there is no function `foo` with 1 arguments");
        assert_eq!(run("$nope").unwrap_err(), "column 1: there is no variable `$nope`");
        assert!(run("").unwrap_err().starts_with("column 1: expected term"));
    }

    #[test]
    fn endless_expressions_end() {
        let endless = format!("did not end within {STEPS} steps");
        for code in [
            "[repeat(1)]",
            "[range(1e12)] | length",
            "last(range(0; 1; 0))",
            "[.a | recurse(. + 1)]",
            "until(false; .)",
            "[while(true; .)]",
            "try [repeat(1)] catch true",
            "[repeat(1)]? // true",
            "reduce repeat(1) as $x (0; . + $x)",
            "last(repeat(empty))",
            "[recurse(.; true)]",
            "(recurse(.) |= .)",
        ] {
            assert_eq!(deep(code), Err(endless.clone()), "{code}");
        }
        assert_eq!(deep("repeat(1)").unwrap_err(), "gave more than one value");
    }

    #[test]
    fn odd_arguments_are_errors_or_values_and_stop_nothing() {
        for code in [
            "[limit(-1; 1)]",
            "\"x\" * -1",
            "[55296] | implode",
            ".list[1e300:]",
            ".list[-9223372036854775808]",
            "\"a\" | test(\"(\")",
            "\"a\" | test(\"a\"; \"q\")",
            "1 / 0",
            "1 % 0",
            "-9223372036854775808 % -1",
            "9223372036854775807 + 1",
            "\"x\" | strptime(\"%Q\")",
            "1e300 | todate",
            "infinite | floor",
            "[nan] | sort",
            "{} | .[\"a\"][1] = 2",
            "\"\\u0000\" | @base64d",
            ".list | setpath([-10]; 1)",
            "[.list, 1] | flatten(-1)",
            "[.list] | transpose",
            "splits(1)",
            "ltrimstr(1)",
        ] {
            let answer = run(code);
            assert!(!matches!(&answer, Err(why) if why.starts_with("column")), "{code}: {answer:?}");
        }
    }

    #[test]
    fn deepest_value_that_the_steps_can_build_fits_the_stack() {
        assert_eq!(deep("reduce range(99990) as $i (.; [.]) | tojson | length > 99990").unwrap(), "true");
        assert_eq!(deep("[.] | last(limit(99000; recurse([.]))) | length").unwrap(), "1");
        assert_eq!(deep("reduce range(49990) as $i (.; [.]) | . == .").unwrap(), "true");
    }
}
