//! Between the compiler's places, in bytes, and the protocol's, in lines and UTF-16 units (or bytes, if the editor can).

use lsp_types::{Position, PositionEncodingKind, Range};

use crate::source::Span;

/// The lines of a text.
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    utf8: bool,
}

impl<'t> Lines<'t> {
    pub fn new(text: &'t str, encoding: &PositionEncodingKind) -> Lines<'t> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Lines { text, starts, utf8: *encoding == PositionEncodingKind::UTF8 }
    }

    pub fn position(&self, offset: usize) -> Position {
        let offset = self.text.floor_char_boundary(offset.min(self.text.len()));
        let line = self.starts.partition_point(|s| *s <= offset) - 1;
        let before = &self.text[self.starts[line]..offset];
        let character = if self.utf8 { before.len() } else { before.encode_utf16().count() };
        Position::new(line as u32, character as u32)
    }

    pub fn range(&self, span: Span) -> Range {
        self.between(span.start as usize, span.end as usize)
    }

    pub fn between(&self, start: usize, end: usize) -> Range {
        Range::new(self.position(start), self.position(end))
    }

    /// The whole text.
    pub fn all(&self) -> Range {
        self.between(0, self.text.len())
    }

    /// Places beyond the end of a line or the text are taken as the end.
    pub fn offset(&self, position: Position) -> usize {
        let Some(&start) = self.starts.get(position.line as usize) else { return self.text.len() };
        let end = self.starts.get(position.line as usize + 1).map_or(self.text.len(), |next| next - 1);
        let line = &self.text[start..end];
        let wanted = position.character as usize;
        if self.utf8 {
            return start + line.floor_char_boundary(wanted.min(line.len()));
        }
        let mut units = 0;
        for (i, c) in line.char_indices() {
            if units >= wanted {
                return start + i;
            }
            units += c.len_utf16();
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_offsets_are_inverse_in_both_encodings() {
        let text = "latent a\n# é 𝜇 mu\n\nlet b";
        for encoding in [PositionEncodingKind::UTF8, PositionEncodingKind::UTF16] {
            let lines = Lines::new(text, &encoding);
            for (offset, _) in text.char_indices().chain([(text.len(), ' ')]) {
                assert_eq!(lines.offset(lines.position(offset)), offset, "{encoding:?} at {offset}");
            }
        }
        let utf16 = Lines::new(text, &PositionEncodingKind::UTF16);
        assert_eq!(utf16.position(text.find("mu").unwrap()), Position::new(1, 7));
        assert_eq!(utf16.offset(Position::new(0, 99)), 8);
        assert_eq!(utf16.offset(Position::new(99, 0)), text.len());
    }
}
