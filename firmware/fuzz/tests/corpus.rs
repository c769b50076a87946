//! Every kept input, and the first made ones, as part of the unit tests.

use lintel_fuzz::input::Inputs;
use lintel_fuzz::{corpus, targets::TARGETS};

/// Made inputs of each target; the step `fuzz` of tests/run goes on where this ends.
const MADE: u64 = 300;

#[test]
fn every_target_holds_what_it_promises() {
    for target in TARGETS {
        let kept = corpus::load(&corpus::root(), target.name).unwrap();
        let mut inputs = Inputs::new(target, &kept, 1);
        let mut input = Vec::new();
        let mut accepted = 0;
        for number in 0..MADE + kept.len() as u64 {
            inputs.make(number, &mut input);
            accepted += (target.run)(&input).accepted;
        }
        assert!(accepted > 0, "{}: nothing was accepted", target.name);
    }
}

#[test]
fn the_corpus_is_small_and_belongs_to_targets() {
    let mut bytes = 0;
    for folder in std::fs::read_dir(corpus::root()).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name();
        assert!(
            TARGETS.iter().any(|target| *target.name == *name),
            "no target {}",
            name.display()
        );
        for file in std::fs::read_dir(folder.path()).unwrap() {
            bytes += file.unwrap().metadata().unwrap().len();
        }
    }
    assert!(bytes < 512 * 1024, "{bytes} bytes are kept");
}
