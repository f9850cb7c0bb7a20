//! Parquet and Arrow files: written here by the crates that read them, against the same cells as CSV.

use std::sync::Arc;

use arrow_array::types::{Decimal128Type, Float64Type, Int8Type, Int32Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, DictionaryArray, Float32Array, Float64Array, Int16Array, ListArray,
    PrimitiveArray, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use vic::data::{DataFile, Inputs};
use vic::diag::Diags;
use vic::driver::{self, Session};
use vic::hir::{Hir, VarKind};
use vic::simulate::{Predictor, Rows, simulate};

use crate::support;

const MODEL: &str = "data visits {\n  name: key\n  y: real\n  n: int >= 0\n  done: bool\n  site: category\n  arm: category\n  \
                     day: date\n  seen: date\n  cost: real\n  big: int\n  half: real\n  gap: real?\n  \
                     x: real[f] from \"x*\"\n}\nlatent a[site] ~ Normal(0, 1)\nlatent c[arm] ~ Normal(0, 1)\nlatent s ~ HalfNormal(1)\n\
                     observe gap ~ Normal(0, s)\nobserve y ~ Normal(a[site] + c[arm] + sum(x over f), s)\n";

/// The same rows as `CSV` has.
const CSV: &str = "name,y,n,done,site,arm,day,seen,cost,big,half,gap,x1,x2\n\
                   A,1.5,3,true,b,1,2024-02-29,2024-03-01,12.5,9007199254740992,0.5,NA,1,4\n\
                   \"B, C\",-0.1,0,false,a,10,1969-12-31,1970-01-01,-0.01,0,-2,0.25,2,5\n\
                   é,1e300,7,true,b,2,2000-01-01,1900-02-28,3,1,0.25,,3,6\n";

fn columns() -> Vec<(&'static str, ArrayRef)> {
    let seen = [19_783_i64, 0, -25_509].map(|day| day * 86_400_000_000);
    let cost = PrimitiveArray::<Decimal128Type>::from(vec![1250, -1, 300]).with_precision_and_scale(10, 2);
    let arm: DictionaryArray<Int32Type> =
        DictionaryArray::new(vec![1, 0, 2].into(), Arc::new(Int16Array::from(vec![10, 1, 2])));
    vec![
        ("name", Arc::new(StringArray::from(vec!["A", "B, C", "é"])) as ArrayRef),
        ("y", Arc::new(Float64Array::from(vec![1.5, -0.1, 1e300]))),
        ("n", Arc::new(Int16Array::from(vec![3, 0, 7]))),
        ("done", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("site", Arc::new(DictionaryArray::<Int8Type>::from_iter(["b", "a", "b"]))),
        ("arm", Arc::new(arm)),
        ("day", Arc::new(Date32Array::from(vec![19_782, -1, 10_957]))),
        ("seen", Arc::new(TimestampMicrosecondArray::from(seen.to_vec()).with_timezone("UTC"))),
        ("cost", Arc::new(cost.expect("a scale"))),
        ("big", Arc::new(UInt64Array::from(vec![1 << 53, 0, 1]))),
        ("half", Arc::new(Float32Array::from(vec![0.5, -2.0, 0.25]))),
        ("gap", Arc::new(Float64Array::from(vec![None, Some(0.25), None]))),
        ("x1", Arc::new(StringViewArray::from(vec!["1", "2", "3"]))),
        ("x2", Arc::new(Float64Array::from(vec![4.0, 5.0, 6.0]))),
        // What the model does not declare may hold anything.
        ("lists", Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(vec![Some(vec![Some(1.0)]); 3]))),
    ]
}

fn batch(columns: Vec<(&'static str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).expect("equal lengths")
}

fn parquet(batch: &RecordBatch, compression: Compression) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(vec![], batch.schema(), Some(properties)).expect("a writer");
    // Two groups of rows: rows are counted across them.
    writer.write(&batch.slice(0, 1)).and_then(|()| writer.flush()).expect("written");
    writer.write(&batch.slice(1, batch.num_rows() - 1)).expect("written");
    writer.into_inner().expect("closed")
}

fn arrow(batch: &RecordBatch, compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).expect("compiled in");
    let mut writer = FileWriter::try_new_with_options(vec![], &batch.schema(), options).expect("a writer");
    writer.write(batch).and_then(|()| writer.finish()).expect("written");
    writer.into_inner().expect("closed")
}

fn stream(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(vec![], &batch.schema()).expect("a writer");
    writer.write(batch).and_then(|()| writer.finish()).expect("written");
    writer.into_inner().expect("closed")
}

fn given(name: &str, bytes: Vec<u8>) -> Inputs {
    Inputs { files: vec![DataFile { table: None, name: name.into(), bytes }], sets: vec![] }
}

/// What is said of a file, as text; empty if it is accepted.
fn said(model: &str, inputs: &Inputs) -> String {
    said_of(&checked(model), inputs)
}

fn checked(model: &str) -> Hir {
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", model);
    assert!(!session.diags.has_errors());
    checked.hir
}

fn said_of(hir: &Hir, inputs: &Inputs) -> String {
    let mut diags = Diags::default();
    let bound = vic::data::bind(hir, inputs, &mut diags);
    assert_eq!(bound.is_none(), diags.has_errors(), "nothing is refused without a reason");
    let lines = diags.list.iter().flat_map(|d| {
        [format!("{} {}", d.code.id, d.message)].into_iter().chain(d.places.iter().chain(&d.notes).cloned())
    });
    lines.map(|l| l + "\n").collect()
}

#[test]
fn every_format_holds_what_csv_holds() {
    let batch = batch(columns());
    let gzip = Compression::GZIP(GzipLevel::default());
    let files = [
        ("plain.parquet", parquet(&batch, Compression::UNCOMPRESSED)),
        ("snappy.parquet", parquet(&batch, Compression::SNAPPY)),
        ("gzip.parquet", parquet(&batch, gzip)),
        ("lz4.parquet", parquet(&batch, Compression::LZ4_RAW)),
        ("zstd.parquet", parquet(&batch, Compression::ZSTD(ZstdLevel::default()))),
        ("plain.arrow", arrow(&batch, None)),
        ("lz4.feather", arrow(&batch, Some(CompressionType::LZ4_FRAME))),
        ("zstd.feather", arrow(&batch, Some(CompressionType::ZSTD))),
        ("stream.arrows", stream(&batch)),
    ];
    let want = support::compile(MODEL, &support::csv(CSV));
    for (name, bytes) in files {
        let got = support::compile(MODEL, &given(name, bytes));
        for (a, b) in want.bound.plates.iter().zip(&got.bound.plates) {
            assert_eq!((a.size, &a.labels), (b.size, &b.labels), "{name}");
        }
        let mut columns = 0;
        for (id, a) in &want.bound.values {
            let b = &got.bound.values[id];
            let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!((&a.dims, bits(&a.numbers)), (&b.dims, bits(&b.numbers)), "{name}: {}", want.hir.var(*id).name);
            columns += usize::from(matches!(want.hir.var(*id).kind, VarKind::Column(_)));
        }
        assert_eq!(columns, 13);
    }
}

/// Each kind of trouble that a cell of a CSV file can have is found here too, and named by column and row.
#[test]
fn cells_are_checked_as_in_csv() {
    let put = |name: &'static str, array: ArrayRef| {
        let mut all = columns();
        all.iter_mut().filter(|c| c.0 == name).for_each(|c| c.1 = array.clone());
        said(MODEL, &given("visits.parquet", parquet(&batch(all), Compression::SNAPPY)))
    };
    let reals = |v: [f64; 3]| Arc::new(Float64Array::from(v.to_vec())) as ArrayRef;
    let has = |text: String, parts: &[&str]| parts.iter().for_each(|p| assert!(text.contains(p), "{p}\n{text}"));
    has(put("n", reals([3.0, -1.0, 7.0])), &["V0715", "visits.parquet: n[2]: \"-1\""]);
    has(put("n", reals([3.0, 1.5, 7.0])), &["V0714", "visits.parquet: n[2]: \"1.5\""]);
    has(put("y", reals([3.0, 1.5, f64::NAN])), &["V0713", "visits.parquet: y[3]: \"NaN\""]);
    has(put("y", reals([f64::INFINITY, 1.5, 1.0])), &["V0713", "visits.parquet: y[1]: \"inf\""]);
    has(
        put("y", Arc::new(Float64Array::from(vec![None, Some(1.0), None]))),
        &["V0712 2 cells", "visits.parquet: y[1]: empty", "visits.parquet: y[3]: empty"],
    );
    has(put("done", reals([0.0, 1.0, 2.0])), &["V0713", "done[3]: \"2\""]);
    has(
        put("y", Arc::new(BooleanArray::from(vec![true; 3]))),
        &["V0713 3 cells of `y` are not numbers", "y[1]: \"true\""],
    );
    has(put("name", Arc::new(StringArray::from(vec!["A", "B", "A"]))), &["V0716", "name[3]: \"A\""]);
    let noon = PrimitiveArray::<TimestampMicrosecondType>::from(vec![43_200_000_000; 3]);
    has(put("day", Arc::new(noon)), &["V0713", "day[1]: \"1970-01-01 12:00:00\""]);
    // Midnight in Greenwich is no midnight in Berlin.
    let there = TimestampMicrosecondArray::from(vec![0; 3]).with_timezone("Europe/Berlin");
    has(put("day", Arc::new(there)), &["V0713", "day[1]: \"1970-01-01 00:00:00 UTC\""]);
    let lists = columns().pop().expect("the last").1;
    has(put("y", lists), &["V0754 `y` holds lists", "visits.parquet: y"]);
    let mut fewer = columns();
    fewer.retain(|c| c.0 != "cost");
    let text = said(MODEL, &given("visits.parquet", parquet(&batch(fewer), Compression::SNAPPY)));
    has(text, &["V0709 `visits.parquet` has no column `cost`", "its columns are: `name`"]);
    let none = batch(columns()).slice(0, 0);
    has(said(MODEL, &given("v.arrow", arrow(&none, None))), &["V0706 `v.arrow` has no rows"]);
}

#[test]
fn files_that_break_off_are_refused() {
    let batch = batch(columns());
    let whole = [parquet(&batch, Compression::SNAPPY), arrow(&batch, Some(CompressionType::LZ4_FRAME)), stream(&batch)];
    for bytes in whole {
        for cut in [8, bytes.len() / 4, bytes.len() / 2, bytes.len() - 100] {
            let text = said(MODEL, &given("cut", bytes[..cut].to_vec()));
            assert!(text.starts_with("V0753 `cut` cannot be read as a"), "{cut} of {}: {text}", bytes.len());
        }
    }
    assert!(said(MODEL, &given("old.feather", b"FEA1....".to_vec())).contains("V0753"));
    assert!(said(MODEL, &given("closed.parquet", b"PARE....".to_vec())).contains("V0753"));
}

/// Bytes changed at random: whatever they are then, there are data or a reason why not.
#[test]
fn damaged_files_do_no_harm() {
    let batch = batch(columns());
    let whole = [
        parquet(&batch, Compression::UNCOMPRESSED),
        parquet(&batch, Compression::ZSTD(ZstdLevel::default())),
        arrow(&batch, None),
        arrow(&batch, Some(CompressionType::LZ4_FRAME)),
        stream(&batch),
    ];
    let hir = checked(MODEL);
    let mut rng = SmallRng::seed_from_u64(5);
    for round in 0..200 {
        for bytes in &whole {
            let mut bytes = bytes.clone();
            for _ in 0..1 + round % 4 {
                let at = rng.random_range(8..bytes.len());
                bytes[at] = rng.random();
            }
            said_of(&hir, &given("damaged", bytes));
        }
    }
}

/// Simulations and predictions take such files for their covariates.
#[test]
fn covariates_of_simulations_and_predictions() {
    let model =
        "data d { x: real, g: category, y: real }\nlatent b[g] ~ Normal(0, 1)\nobserve y ~ Normal(b[g] * x, 0.1)\n";
    let table = |y: bool| {
        let mut columns = vec![
            ("x", Arc::new(Float64Array::from(vec![1.0, 2.5, 4.0])) as ArrayRef),
            ("g", Arc::new(StringArray::from(vec!["u", "v", "u"]))),
        ];
        columns.extend(y.then(|| ("y", Arc::new(Float64Array::from(vec![0.5, 1.0, 2.0])) as ArrayRef)));
        parquet(&batch(columns), Compression::SNAPPY)
    };
    let hir = checked(model);
    let drawn = |inputs: Inputs| {
        let mut diags = Diags::default();
        let drawn = simulate(&hir, &inputs, &Rows::default(), 1, &mut diags).expect("drawn");
        drawn.tables[0].1.clone()
    };
    let csv = drawn(support::csv("x,g\n1,u\n2.5,v\n4,u\n"));
    assert_eq!(drawn(given("x.parquet", table(false))), csv);

    let inputs = given("fitted.parquet", table(true));
    let report = support::fit(&support::compile(model, &inputs), &driver::FitRequest::default());
    let posterior =
        report.vars.iter().flat_map(|v| (0..v.cells()).map(|c| (v.cell_name(c), v.cell(c, report.draws).to_vec())));
    let predictor = Predictor {
        hir: &hir,
        fitted: &inputs,
        posterior: &posterior.collect(),
        draws: report.draws,
        new: &given("new.parquet", table(false)).files,
        seed: 1,
    };
    let mut diags = Diags::default();
    let predicted = predictor.predict(&mut diags);
    assert!(predicted.is_some() && !diags.has_errors(), "{:?}", diags.list);
}
