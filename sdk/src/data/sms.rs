//! The SMS Spam Collection: text messages, wanted or not (Almeida, Hidalgo and Yamakami, 2011).

use std::path::Path;

use super::file::{find, read_text};
use super::text::hash;
use super::{Error, Examples, TextForm};

const CLASSES: usize = 2;
/// One message of so many is for testing.
const TEST_SHARE: u32 = 5;

/// Reads the SMS Spam Collection (`sms.tsv`: a line is `ham` or `spam`, a tab and the message)
/// as training and test set, in a form of text. Label 1 stands for spam (13 % of them).
///
/// The collection has no test set of its own. A fifth of the messages is one, chosen by a hash
/// of the text: many messages occur more than once, and all copies go to the same side.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Read`] about the environment; [`Error::Line`] about the first
/// line that is no message; [`Error::Shape`] for a form without numbers.
///
/// # Edge cases
/// | line | result |
/// | --- | --- |
/// | blank | left out |
/// | a message without words | an example that is all 0 |
pub fn load_sms(directory: &Path, form: TextForm) -> Result<(Examples, Examples), Error> {
    let path = find(directory, &["sms.tsv".to_owned(), "sms.tsv.gz".to_owned()])?;
    let mut sides = [const { (Vec::new(), Vec::new()) }; 2];
    for (number, line) in read_text(&path)?.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let refused = |what| Error::Line { path: path.clone(), line: number + 1, what };
        let (label, text) = line.split_once('\t').ok_or_else(|| refused("tab"))?;
        let label = match label {
            "ham" => 0,
            "spam" => 1,
            _ => return Err(refused("label")),
        };
        let (inputs, labels) = &mut sides[usize::from(hash(text).is_multiple_of(TEST_SHARE))];
        inputs.extend(form.encode(text));
        labels.push(label);
    }
    let [train, test] =
        sides.map(|(inputs, labels)| Examples::new(form.shape(), inputs, labels, CLASSES));
    Ok((train?, test?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{folder, real};
    use super::*;

    const FORM: TextForm = TextForm::Tokens { length: 3, words: 100 };

    fn load(file: &str) -> Result<(Examples, Examples), Error> {
        load_sms(folder(&[("sms.tsv", file)]).path(), FORM)
    }

    #[test]
    fn a_line_becomes_an_example_and_copies_stay_together() {
        let texts = ["see you", "win cash now", "on my way", "call 0900", "lunch?", "ok", "no"];
        let lines = |label: &str| texts.map(|text| format!("{label}\t{text}\n")).concat();
        let (train, test) = load(&format!("{}\n{}", lines("ham"), lines("spam"))).unwrap();
        assert_eq!((train.len() + test.len(), train.shape()), (14, &[3][..]));
        assert!(!train.is_empty() && !test.is_empty());
        for side in [train, test] {
            let half = side.len() / 2;
            assert_eq!(side.inputs()[..half * 3], side.inputs()[half * 3..]);
            assert!(side.labels()[..half].iter().all(|label| *label == 0));
            assert!(side.labels()[half..].iter().all(|label| *label == 1));
        }
    }

    #[test]
    fn a_line_that_is_no_message_is_named() {
        for (line, what) in [("ham see you", "tab"), ("eggs\tsee you", "label")] {
            let error = load(&format!("ham\tok\n\n{line}\n")).unwrap_err();
            let expected = Error::Line { line: 3, what, path: error_path(&error) };
            assert_eq!(error, expected);
            assert!(error.to_string().contains("sms.tsv"), "{error}");
        }
    }

    fn error_path(error: &Error) -> std::path::PathBuf {
        let Error::Line { path, .. } = error else { panic!("{error}") };
        path.clone()
    }

    #[test]
    fn bytes_that_are_no_text_are_named_with_their_line() {
        let folder = folder(&[]);
        std::fs::write(folder.path().join("sms.tsv"), b"ham\tok\nham\t\xff\n").unwrap();
        let error = load_sms(folder.path(), FORM).unwrap_err();
        assert!(matches!(error, Error::Line { line: 2, what: "UTF-8", .. }), "{error}");
    }

    #[test]
    fn a_form_without_numbers_is_refused() {
        let folder = folder(&[("sms.tsv", "ham\tok\n")]);
        let error = load_sms(folder.path(), TextForm::Bag { buckets: 0 }).unwrap_err();
        assert_eq!(error, Error::Shape { shape: vec![0] });
    }

    #[test]
    fn the_published_file_is_read_whole() {
        let Some(folder) = real("text", "sms.tsv") else { return };
        let (train, test) = load_sms(&folder, TextForm::Bag { buckets: 64 }).unwrap();
        let spam = |set: &Examples| set.labels().iter().filter(|label| **label == 1).count();
        assert_eq!(train.len() + test.len(), 5_574);
        assert_eq!(spam(&train) + spam(&test), 747);
        assert!((1_000..1_230).contains(&test.len()), "{} test messages", test.len());
    }
}
