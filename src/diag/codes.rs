//! The one list of diagnostic codes. Each has a page in `docs/errors/`, which `vic explain` prints.

/// A stable diagnostic code. `id` never changes meaning once released.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    pub id: &'static str,
    /// What is wrong, in a few words, independent of the case at hand.
    pub title: &'static str,
    /// The page of documentation, in Markdown.
    pub page: &'static str,
    pub warning: bool,
}

macro_rules! codes {
    ($($name:ident $id:literal $kind:ident $title:literal;)*) => {
        impl Code {
            $(pub const $name: &'static Code = &Code {
                id: $id, title: $title, warning: codes!(@ $kind),
                page: include_str!(concat!("../../docs/errors/", $id, ".md")),
            };)*
        }
        /// Every code, in order.
        pub const ALL: &[&Code] = &[$(Code::$name),*];
    };
    (@ error) => { false };
    (@ warning) => { true };
}

codes! {
    // V01xx: syntax
    UNEXPECTED_TOKEN "V0101" error "a word or sign that does not fit here";
    // V02xx: names
    // V03xx: plates and indices
    // V04xx: types, supports, constraints
    // V05xx: distributions, guides, fit options
    // V06xx: not there yet
    // V07xx: data files
    // V08xx: numbers at run time
    // V09xx: flags and files
    // V1xxx: warnings
}
