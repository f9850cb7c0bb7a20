//! Whether the compressed parts of an Arrow file fit into memory. Each begins with the length that it unpacks to, and the
//! reader asks for that much: a damaged length would end the program.

use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{Block, RecordBatch, root_as_footer, root_as_message};
use arrow_schema::ArrowError;

/// Expects the bytes of an Arrow file, with its table of contents or as a stream. What is wrong elsewhere is left to the reader.
pub fn check(bytes: &[u8], stream: bool) -> Result<(), ArrowError> {
    let messages = if stream { walked(bytes) } else { listed(bytes) };
    for (metadata, body) in messages.unwrap_or_default() {
        let Some(message) = bytes.get(metadata.0..metadata.1).and_then(|m| root_as_message(m).ok()) else { continue };
        let dictionary = message.header_as_dictionary_batch().and_then(|d| d.data());
        if let Some(batch) = message.header_as_record_batch().or(dictionary) {
            unpacked(bytes, batch, body)?;
        }
    }
    Ok(())
}

/// Ask for the memory of each compressed part, and give it back.
fn unpacked(bytes: &[u8], batch: RecordBatch, body: usize) -> Result<(), ArrowError> {
    if batch.compression().is_none() {
        return Ok(());
    }
    for buffer in batch.buffers().into_iter().flatten() {
        let at = usize::try_from(buffer.offset()).ok().and_then(|o| body.checked_add(o));
        let Some(length) = at.and_then(|at| bytes.get(at..)?.first_chunk()).filter(|_| buffer.length() > 0) else {
            continue;
        };
        let length = i64::from_le_bytes(*length);
        // -1 stands for a part that is not compressed.
        let fits = usize::try_from(length).is_ok_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok());
        if length != -1 && !fits {
            return Err(ArrowError::MemoryError(format!("a part of {length} bytes")));
        }
    }
    Ok(())
}

/// Where the metadata of each message stand, and where its body begins.
type Messages = Vec<((usize, usize), usize)>;

/// By the table of contents.
fn listed(bytes: &[u8]) -> Option<Messages> {
    let length = read_footer_length(*bytes.last_chunk()?).ok()?;
    let footer = root_as_footer(bytes.get(bytes.len().checked_sub(10 + length)?..bytes.len() - 10)?).ok()?;
    let place = |block: &Block| {
        let (start, metadata) = (usize::try_from(block.offset()).ok()?, usize::try_from(block.metaDataLength()).ok()?);
        let marked = bytes.get(start..)?.starts_with(&[0xff; 4]);
        let body = start.checked_add(metadata)?;
        Some(((start + if marked { 8 } else { 4 }, body), body))
    };
    let blocks = footer.dictionaries().into_iter().flatten().chain(footer.recordBatches().into_iter().flatten());
    Some(blocks.filter_map(place).collect())
}

/// One after the other.
fn walked(bytes: &[u8]) -> Option<Messages> {
    let (mut out, mut at) = (vec![], 0_usize);
    while bytes.get(at..)?.starts_with(&[0xff; 4]) {
        let length = i32::from_le_bytes(*bytes.get(at + 4..)?.first_chunk()?);
        let (start, end) = (at + 8, (at + 8).checked_add(usize::try_from(length).ok()?)?);
        if length == 0 {
            break;
        }
        let body = root_as_message(bytes.get(start..end)?).ok()?.bodyLength();
        out.push(((start, end), end));
        at = end.checked_add(usize::try_from(body).ok()?)?;
    }
    Some(out)
}
