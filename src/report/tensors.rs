//! `weights.safetensors`: what a fit has fitted to a point, by name, for machines: weights of nets and params of the guide.
//!
//! Tensors have the dims of their plates in the order written, last dimension contiguous as in NumPy and PyTorch. The entry
//! `plates` of the metadata is one JSON object: the plates of each tensor, and the labels of each plate.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};

use super::{Dim, ReportKind, ReportVar};

pub const FILE: &str = "weights.safetensors";
/// The one entry of the metadata: maps of several have no fixed order, and the same fit gives the same bytes.
const PLATES: &str = "plates";

#[derive(Serialize, Deserialize)]
struct Plates {
    /// Plates of each tensor, in the order of its dims.
    tensors: BTreeMap<String, Vec<String>>,
    labels: BTreeMap<String, Vec<String>>,
}

/// The bytes of the file.
pub fn encode<'v>(vars: impl Iterator<Item = &'v ReportVar> + Clone) -> Vec<u8> {
    let mut plates = Plates { tensors: BTreeMap::new(), labels: BTreeMap::new() };
    let mut data: Vec<(String, Vec<usize>, Vec<u8>)> = vec![];
    for v in vars {
        plates.tensors.insert(v.name.clone(), v.dims.iter().map(|d| d.plate.clone()).collect());
        plates.labels.extend(v.dims.iter().map(|d| (d.plate.clone(), d.labels.to_vec())));
        let sizes = sizes(v);
        let bytes = last_fastest(&sizes).into_iter().flat_map(|cell| v.draws[cell].to_le_bytes()).collect();
        data.push((v.name.clone(), sizes, bytes));
    }
    let views = data.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F64, shape.clone(), bytes).expect("eight bytes per cell");
        (name.as_str(), view)
    });
    let text = serde_json::to_string(&plates).expect("names and labels are text");
    serialize(views, Some(HashMap::from([(PLATES.to_string(), text)]))).expect("names are unique, and shapes fit")
}

/// What such a file holds; `None` if it is none of ours.
pub fn decode(bytes: &[u8]) -> Option<Vec<ReportVar>> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).ok()?;
    let mut plates: Plates = serde_json::from_str(metadata.metadata().as_ref()?.get(PLATES)?).ok()?;
    let labels: HashMap<String, Arc<[String]>> =
        std::mem::take(&mut plates.labels).into_iter().map(|(plate, l)| (plate, l.into())).collect();
    let tensors = SafeTensors::deserialize(bytes).ok()?;
    let mut out = vec![];
    for (name, names) in plates.tensors {
        let tensor = tensors.tensor(&name).ok()?;
        let dim = |plate: String| Some(Dim { labels: labels.get(&plate)?.clone(), plate });
        let dims: Vec<Dim> = names.into_iter().map(dim).collect::<Option<_>>()?;
        let mut v = ReportVar { name, kind: ReportKind::Param, dims, draws: vec![] };
        let sizes = sizes(&v);
        if tensor.dtype() != Dtype::F64 || tensor.shape() != sizes {
            return None;
        }
        v.draws = vec![0.0; v.cells()];
        for (cell, number) in last_fastest(&sizes).into_iter().zip(tensor.data().chunks_exact(8)) {
            v.draws[cell] = f64::from_le_bytes(number.try_into().expect("chunks of eight bytes"));
        }
        out.push(v);
    }
    Some(out)
}

fn sizes(v: &ReportVar) -> Vec<usize> {
    v.dims.iter().map(|d| d.labels.len()).collect()
}

/// Our cells, whose first dimension is contiguous, in the order in which the last one is.
fn last_fastest(sizes: &[usize]) -> Vec<usize> {
    let mut out = vec![0];
    let mut stride = 1;
    for n in sizes {
        out = out.iter().flat_map(|at| (0..*n).map(move |i| at + i * stride)).collect();
        stride *= n;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn var(name: &str, plates: &[(&str, usize)]) -> ReportVar {
        let dim = |(plate, n): &(&str, usize)| Dim {
            plate: plate.to_string(),
            labels: (1..=*n).map(|i| format!("{plate} {i}")).collect(),
        };
        let dims: Vec<Dim> = plates.iter().map(dim).collect();
        let cells = dims.iter().map(|d| d.labels.len()).product::<usize>();
        ReportVar { name: name.into(), kind: ReportKind::Param, dims, draws: (0..cells).map(|i| i as f64).collect() }
    }

    #[test]
    fn numbers_and_names_come_back() {
        let vars = [var("f.weight", &[("unit", 2), ("x", 3)]), var("s", &[]), var("f.bias", &[("unit", 2)])];
        let bytes = encode(vars.iter());
        assert_eq!(bytes, encode(vars.iter()));
        let back = decode(&bytes).expect("ours");
        for v in &vars {
            let b = back.iter().find(|b| b.name == v.name).expect("it is there");
            assert_eq!(b.draws, v.draws);
            assert_eq!((0..v.cells()).map(|c| b.cell_name(c)).collect::<Vec<_>>(), {
                (0..v.cells()).map(|c| v.cell_name(c)).collect::<Vec<_>>()
            });
        }
        // Cell (i, j) of ours is i + 2 j; others see row after row.
        let tensors = SafeTensors::deserialize(&bytes).expect("whole");
        let weight = tensors.tensor("f.weight").expect("it is there");
        let numbers: Vec<f64> =
            weight.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight"))).collect();
        assert_eq!((weight.shape(), numbers), (&[2, 3][..], vec![0.0, 2.0, 4.0, 1.0, 3.0, 5.0]));
        assert!(decode(&bytes[..40]).is_none());
    }
}
