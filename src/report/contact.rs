//! Contact sheets: rows of a vector column as small grey images side by side.

use std::io;

/// Images at least this wide, in pixels of the sheet.
const WIDE: usize = 32;
/// Shade between images, and of what is not known.
const GAP: u8 = 96;

/// A PNG of images, each row after row of `width` numbers between 0 (black) and 1 (white); what is not a number is grey.
/// `across`: how many stand side by side.
pub fn contact_sheet(images: &[Vec<f64>], width: usize, across: usize) -> io::Result<Vec<u8>> {
    let height = images.first().map_or(0, |i| i.len() / width.max(1));
    let across = across.clamp(1, images.len().max(1));
    let scale = WIDE.div_ceil(width.max(1));
    let (cell_w, cell_h) = (width * scale + 2, height * scale + 2);
    let (w, h) = (across * cell_w, images.len().div_ceil(across) * cell_h);
    let mut shades = vec![GAP; w * h];
    for (i, image) in images.iter().enumerate() {
        let (left, top) = (i % across * cell_w + 1, i / across * cell_h + 1);
        for y in 0..height * scale {
            for x in 0..width * scale {
                let v = image[y / scale * width + x / scale];
                let shade = if v.is_nan() { GAP } else { (v.clamp(0.0, 1.0) * 255.0).round() as u8 };
                shades[(top + y) * w + left + x] = shade;
            }
        }
    }
    let mut out = vec![];
    let mut encoder = png::Encoder::new(&mut out, w as u32, h as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let failed = |e: png::EncodingError| io::Error::other(e);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&shades).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_where_they_belong() {
        let images = vec![vec![0.0, 1.0, 0.5, f64::NAN], vec![1.0; 4], vec![0.0; 4]];
        let bytes = contact_sheet(&images, 2, 2).expect("it fits");
        let mut reader = png::Decoder::new(io::Cursor::new(&bytes)).read_info().expect("a PNG");
        let mut shades = vec![0; reader.output_buffer_size().expect("small")];
        let info = reader.next_frame(&mut shades).expect("one image");
        // Two across and two down, each 2 × 2 numbers of 16 pixels and a border of 1.
        assert_eq!((info.width, info.height), (68, 68));
        let at = |x: usize, y: usize| shades[y * 68 + x];
        assert_eq!([at(1, 1), at(20, 1), at(1, 20), at(20, 20)], [0, 255, 128, GAP]);
        assert_eq!([at(40, 5), at(5, 40), at(40, 40), at(0, 0)], [255, 0, GAP, GAP]);
    }
}
