//! Whether the lists of a Parquet footer are as long as they say. Its reader makes room for as many items as a list claims:
//! a damaged length would end the program.

/// Expects the bytes of a Parquet file. A footer that is not there is left to the reader.
pub fn lists_fit(bytes: &[u8]) -> bool {
    let Some(&[a, b, c, d, ..]) = bytes.last_chunk::<8>() else { return true };
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let footer = (bytes.len() - 8).checked_sub(length).map(|at| &bytes[at..bytes.len() - 8]);
    footer.is_none_or(|f| Compact { bytes: f, depth: 0 }.skip(STRUCT).is_some())
}

const STRUCT: u8 = 12;

/// Thrift's compact protocol, of which only the lengths matter: every item of a list takes at least a byte.
/// <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>
struct Compact<'a> {
    bytes: &'a [u8],
    depth: usize,
}

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut out = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            out |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(out);
            }
        }
        None
    }

    fn drop(&mut self, n: u64) -> Option<()> {
        self.bytes = self.bytes.get(usize::try_from(n).ok()?..)?;
        Some(())
    }

    /// Go past a value of a type; `None` if it does not end within the bytes, or nests deeper than any footer.
    fn skip(&mut self, ty: u8) -> Option<()> {
        match ty {
            1 | 2 => Some(()),
            3 => self.drop(1),
            4..=6 => self.number().map(|_| ()),
            7 => self.drop(8),
            8 => {
                let length = self.number()?;
                self.drop(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let items = if head >> 4 == 15 { self.number()? } else { u64::from(head >> 4) };
                self.nested(|c| c.items(items, &[head & 15]))
            }
            11 => {
                let items = self.number()?;
                let types = if items > 0 { self.byte()? } else { 0 };
                self.nested(|c| c.items(items, &[types >> 4, types & 15]))
            }
            STRUCT => self.nested(|c| {
                loop {
                    let head = c.byte()?;
                    match head & 15 {
                        0 => return Some(()),
                        ty => {
                            if head >> 4 == 0 {
                                c.number()?;
                            }
                            c.skip(ty)?;
                        }
                    }
                }
            }),
            _ => None,
        }
    }

    fn nested(&mut self, body: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        let done = (self.depth < 64).then(|| body(self)).flatten();
        self.depth -= 1;
        done
    }

    fn items(&mut self, items: u64, types: &[u8]) -> Option<()> {
        if items > self.bytes.len() as u64 {
            return None;
        }
        for _ in 0..items {
            for &ty in types {
                // Outside a struct a truth value is a byte of its own.
                self.skip(if ty == 1 || ty == 2 { 3 } else { ty })?;
            }
        }
        Some(())
    }
}
