//! Binding, on models made by hand.

use super::*;
use crate::hir::{
    AxisId, AxisInfo, Column, Constraint, Content, Expr, ExprKind, From, Plate, PlateId, PlateKind, Table, TableId, Ty,
    Var, VarId, VarKind,
};
use crate::source::Span;

/// A model under construction.
#[derive(Default)]
struct Model(Hir);

impl Model {
    fn plate(&mut self, name: &str, kind: PlateKind) -> PlateId {
        let (id, axis) = (PlateId(self.0.plates.len() as u32), AxisId(self.0.axes.len() as u32));
        self.0.axes.push(AxisInfo { plate: id, name: name.into() });
        self.0.plates.push(Plate { name: name.into(), span: Span::default(), kind, axis });
        id
    }

    fn table(&mut self, name: &str) -> TableId {
        let id = TableId(self.0.tables.len() as u32);
        let plate = self.plate(name, PlateKind::Rows(id));
        self.0.tables.push(Table { name: name.into(), span: Span::default(), plate, columns: vec![], key: None });
        id
    }

    fn var(&mut self, name: &str, kind: VarKind, axes: Vec<AxisId>, ty: Ty) -> VarId {
        let (span, constraint) = (Span::default(), Constraint::None);
        self.0.vars.push(Var { name: name.into(), span, kind, axes, joint: 0, ty, constraint });
        VarId(self.0.vars.len() as u32 - 1)
    }

    fn column(&mut self, table: TableId, name: &str, content: Content) -> VarId {
        self.column_from(table, name, content, From::Name(name.into()), None)
    }

    fn column_from(
        &mut self,
        table: TableId,
        name: &str,
        content: Content,
        from: From,
        vector: Option<PlateId>,
    ) -> VarId {
        let mut axes = vec![self.0.plate(self.0.table(table).plate).axis];
        axes.extend(vector.map(|p| self.0.plate(p).axis));
        let kind = VarKind::Column(Column { table, content, from, optional: false });
        let id = self.var(name, kind, axes, Ty::Real);
        let table = &mut self.0.tables[table.0 as usize];
        table.columns.push(id);
        if content == Content::Key {
            table.key = Some(id);
        }
        id
    }

    fn set_optional(&mut self, id: VarId) {
        if let VarKind::Column(c) = &mut self.0.vars[id.0 as usize].kind {
            c.optional = true;
        }
    }

    fn constrain(&mut self, id: VarId, c: Constraint) {
        self.0.vars[id.0 as usize].constraint = c;
    }

    /// Bind to files given as `("houses=houses.csv", text)`.
    fn bind_with(&self, files: &[(&str, &[u8])], sets: &[(&str, &str)]) -> (Option<Bound>, String) {
        let mut diags = Diags::default();
        let files = files.iter().map(|(argument, bytes)| {
            let (table, name) = match argument.split_once('=') {
                Some((t, n)) => (Some(t.to_owned()), n),
                None => (None, *argument),
            };
            DataFile { table, name: name.into(), bytes: bytes.to_vec() }
        });
        let inputs = Inputs {
            files: files.collect(),
            sets: sets.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        };
        let bound = bind(&self.0, &inputs, &mut diags);
        assert_eq!(bound.is_none(), diags.has_errors(), "nothing is refused without a reason");
        (bound, shown(&diags))
    }

    fn bind(&self, files: &[(&str, &str)]) -> (Option<Bound>, String) {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(n, t)| (*n, t.as_bytes())).collect();
        self.bind_with(&files, &[])
    }

    fn bound(&self, files: &[(&str, &str)]) -> Bound {
        let (bound, text) = self.bind(files);
        bound.unwrap_or_else(|| panic!("{text}"))
    }

    fn refused(&self, files: &[(&str, &str)]) -> String {
        let (bound, text) = self.bind(files);
        assert!(bound.is_none(), "accepted");
        text
    }
}

/// Diagnostics as plain text: what a message must contain can be looked for in it.
fn shown(diags: &Diags) -> String {
    let mut out = String::new();
    for d in &diags.list {
        out += &format!("{} {}\n", d.code.id, d.message);
        d.places.iter().chain(&d.notes).for_each(|p| out += &format!("  {p}\n"));
        out += &format!("  here: {}\n", d.label);
        d.help.iter().for_each(|h| out += &format!("  help: {h}\n"));
    }
    out
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

fn expr(kind: ExprKind) -> Expr {
    Expr { kind, ty: Ty::Real, axes: vec![], span: Span::default() }
}

fn number(x: f64) -> Expr {
    expr(ExprKind::Number(x))
}

fn schools() -> (Model, [VarId; 3]) {
    let mut m = Model::default();
    let t = m.table("schools");
    let key = m.column(t, "school", Content::Key);
    let y = m.column(t, "y", Content::Real);
    let sigma = m.column(t, "sigma", Content::Real);
    m.constrain(sigma, Constraint::Lower { bound: number(0.0), open: true });
    (m, [key, y, sigma])
}

#[test]
fn reads_labels_and_numbers() {
    let (m, [key, y, sigma]) = schools();
    // Columns are found by name, whatever their order; others are ignored.
    let b = m.bound(&[("s.csv", "sigma,note,school,y\n15,\"a, b\",Choate,28\n10,,Deerfield,-3.5e0\n")]);
    assert_eq!(b.values[&y].numbers[..], [28.0, -3.5]);
    assert_eq!(b.values[&sigma].numbers[..], [15.0, 10.0]);
    assert_eq!(b.values[&key].numbers[..], [0.0, 1.0]);
    assert_eq!(b.values[&y].dims, [2]);
    let plate = b.plate(PlateId(0));
    assert_eq!(plate.labels[..], ["Choate", "Deerfield"]);
    assert_eq!((plate.file.as_str(), &plate.lines[..]), ("s.csv", &[2, 3][..]));
}

#[test]
fn reads_what_spreadsheets_write() {
    let (m, [_, y, _]) = schools();
    let text = "\u{feff}school,y,sigma\r\n\"Ch\"\"o\"\"ate\",1,2\r\n\"two\r\nlines\", 3 ,4\r\nlast,5,6";
    let b = m.bound(&[("s.csv", text)]);
    assert_eq!(b.values[&y].numbers[..], [1.0, 3.0, 5.0]);
    assert_eq!(b.plate(PlateId(0)).labels[..], ["Ch\"o\"ate", "two\r\nlines", "last"]);
    // The second row takes two lines of the file.
    assert_eq!(b.plate(PlateId(0)).lines[..], [2, 3, 5]);
    let old_mac = m.bound(&[("s.csv", "school,y,sigma\ra,1,2\rb,3,4\r")]);
    assert_eq!(old_mac.plate(PlateId(0)).lines[..], [2, 3]);
}

#[test]
fn names_every_bad_cell() {
    let (m, _) = schools();
    let text = "school,y,sigma\nA,abc,1\nB,,0\nC,NA,-1\nD,\"1,5\",1\n";
    let text = m.refused(&[("s.csv", text)]);
    has(
        &text,
        &[
            "V0712 2 cells of `y` are missing\n  s.csv:3:2: empty\n  s.csv:4:2: \"NA\"",
            "V0713 2 cells of `y` are not numbers\n  s.csv:2:2: \"abc\"\n  s.csv:5:2: \"1,5\"",
            "V0715 2 cells of `sigma` are not > 0\n  s.csv:3:3: \"0\"\n  s.csv:4:3: \"-1\"",
        ],
    );
}

#[test]
fn names_the_first_few_and_counts_the_rest() {
    let (m, _) = schools();
    let mut text = "school,y,sigma\n".to_owned();
    (0..9).for_each(|i| text += &format!("{i},x,1\n"));
    let text = m.refused(&[("s.csv", &text)]);
    has(&text, &["9 cells of `y` are not numbers", "s.csv:6:2", "and 4 more cells"]);
    assert!(!text.contains("s.csv:7:2"));
}

#[test]
fn hints_at_what_a_cell_may_mean() {
    let (m, _) = schools();
    let cell = |cell: &str| m.refused(&[("s.csv", &format!("school,y,sigma\nA,\"{cell}\",1\n"))]);
    has(&cell("1,5"), &["decimal comma"]);
    has(&cell("1,234,567"), &["commas between thousands"]);
    has(&cell("n/a"), &["stands for a missing value"]);
    has(&cell("12 %"), &["percent"]);
    has(&cell("inf"), &["finite"]);
}

#[test]
fn lists_the_columns_there_are() {
    let (m, _) = schools();
    let text = m.refused(&[("s.csv", "School,y,sgima\nA,1,1\n")]);
    has(
        &text,
        &[
            "V0709 `s.csv` has no column `school`",
            "did you mean `School`?",
            "`s.csv` has no column `sigma`",
            "did you mean `sgima`? Write `sigma: … from \"sgima\"`",
            "its columns are: `School`, `y`, `sgima`",
        ],
    );
    let text = m.refused(&[("s.csv", "school;y;sigma\nA;1;1\n")]);
    has(&text, &["V0709 the first line of `s.csv` reads as a single name", "instead of semicolons"]);
    assert_eq!(text.matches("V0709").count(), 1, "one mistake, one message");
    has(&m.refused(&[("s.csv", "A,28,15\nB,8,10\n")]), &["holds a number where a name belongs", "s.csv:1:2: \"28\""]);
    has(&m.refused(&[("s.csv", "school,y,sigma,y\nA,1,1,2\n")]), &["V0710", "s.csv:1:2", "s.csv:1:4"]);
}

#[test]
fn a_column_named_twice_matters_only_when_it_is_read() {
    let (m, _) = schools();
    m.bound(&[("s.csv", "school,y,sigma,note,note\nA,1,1,a,b\n")]);
}

#[test]
fn refuses_files_that_are_not_csv() {
    let (m, _) = schools();
    let refused = |bytes: &[u8]| m.bind_with(&[("s.csv", bytes)], &[]).1;
    has(&refused(b"school,y,sigma\nZ\xfcrich,1,1\n"), &["V0705", "s.csv:2: byte 0xfc"]);
    has(&refused(b"PK\x03\x04...."), &["spreadsheet"]);
    has(&refused(b"\xff\xfes\0c\0"), &["UTF-16"]);
    has(&refused(b""), &["V0706 `s.csv` is empty"]);
    has(&refused(b"\n\n"), &["V0706 `s.csv` is empty"]);
    has(&refused(b"school,y,sigma\n"), &["V0706 `s.csv` has a header but no rows"]);
}

#[test]
fn refuses_ragged_and_empty_rows() {
    let (m, _) = schools();
    let text = m.refused(&[("s.csv", "school,y,sigma\nA,1\nB,2,3\nC,4,5,6\n")]);
    has(&text, &["V0707 2 rows of `s.csv` do not have 3 cells", "s.csv:2: 2 cells", "s.csv:4: 4 cells"]);
    assert!(!text.contains("V0712"), "a short row is one mistake, not two:\n{text}");
    has(&m.refused(&[("s.csv", "school,y,sigma\nA,\"1,2\nB,2,3\nC,4,5\n")]), &["may never be closed"]);
    // The csv crate skips empty lines; in a file of one column they may be missing cells.
    let text = m.refused(&[("s.csv", "school,y,sigma\r\nA,1,2\r\n\r\nB,2,3\r\n")]);
    has(&text, &["V0708 `s.csv` has 1 empty line between its rows\n  s.csv:3"]);
    // At the end they are nothing.
    m.bound(&[("s.csv", "school,y,sigma\nA,1,2\n\n\n")]);
}

#[test]
fn int_and_bool_cells() {
    let mut m = Model::default();
    let t = m.table("t");
    let n = m.column(t, "n", Content::Int);
    let b = m.column(t, "b", Content::Bool);
    let bound = m.bound(&[("t.csv", "n,b\n3,yes\n4.0,FALSE\n-1e2,1\n")]);
    assert_eq!(bound.values[&n].numbers[..], [3.0, 4.0, -100.0]);
    assert_eq!(bound.values[&b].numbers[..], [1.0, 0.0, 1.0]);
    let text = m.refused(&[("t.csv", "n,b\n3.5,2\n1,t\n")]);
    has(&text, &["V0714 1 cell of `n` is not a whole number\n  t.csv:2:1: \"3.5\""]);
    has(&text, &["V0713 2 cells of `b` are not true or false", "0 or 1, true or false, yes or no"]);
}

#[test]
fn optional_cells_may_be_empty() {
    let mut m = Model::default();
    let t = m.table("t");
    let x = m.column(t, "x", Content::Real);
    m.set_optional(x);
    m.constrain(x, Constraint::Lower { bound: number(0.0), open: false });
    let b = m.bound(&[("t.csv", "x,z\n1,\n,\nNA,\n")]);
    assert_eq!(b.values[&x].numbers.len(), 3);
    assert!(b.values[&x].numbers[1].is_nan() && b.values[&x].numbers[2].is_nan());
}

#[test]
fn levels_are_sorted_and_fixed_ones_checked() {
    let mut m = Model::default();
    let t = m.table("t");
    let g = m.column(t, "g", Content::Index(PlateId(1)));
    let plate = m.plate("g", PlateKind::Levels { columns: vec![g], fixed: None });
    let b = m.bound(&[("t.csv", "g\n10\n9\n10\n-1\n")]);
    assert_eq!(b.plate(plate).labels[..], ["-1", "9", "10"]);
    assert_eq!(b.values[&g].numbers[..], [2.0, 1.0, 2.0, 0.0]);
    let b = m.bound(&[("t.csv", "g\n10\n9\nb\n")]);
    assert_eq!(b.plate(plate).labels[..], ["10", "9", "b"]);

    m.0.plates[1].kind = PlateKind::Levels { columns: vec![g], fixed: Some(vec!["low".into(), "high".into()]) };
    let b = m.bound(&[("t.csv", "g\nhigh\nlow\nhigh\n")]);
    assert_eq!(b.values[&g].numbers[..], [1.0, 0.0, 1.0]);
    let text = m.refused(&[("t.csv", "g\nhigh\nmiddle\n low\n")]);
    has(&text, &["V0718 2 cells of `g` name no level of `g`", "t.csv:3:1: \"middle\"", "t.csv:4:1: \" low\""]);
    has(&m.refused(&[("t.csv", "g\n low\n")]), &["blanks around it"]);
    has(&m.refused(&[("t.csv", "g\nhihg\n")]), &["did you mean \"high\"?"]);
}

#[test]
fn columns_can_share_levels() {
    let mut m = Model::default();
    let t = m.table("games");
    let home = m.column(t, "home", Content::Index(PlateId(1)));
    let away = m.column(t, "away", Content::Index(PlateId(1)));
    m.plate("team", PlateKind::Levels { columns: vec![home, away], fixed: None });
    let b = m.bound(&[("g.csv", "home,away\nc,a\nb,c\n")]);
    assert_eq!(b.plate(PlateId(1)).labels[..], ["a", "b", "c"]);
    assert_eq!(b.values[&home].numbers[..], [2.0, 1.0]);
    assert_eq!(b.values[&away].numbers[..], [0.0, 2.0]);
}

fn radon() -> (Model, VarId) {
    let mut m = Model::default();
    let houses = m.table("houses");
    let counties = m.table("counties");
    let county = m.column(houses, "county", Content::Index(PlateId(1)));
    m.column(counties, "name", Content::Key);
    m.column(counties, "uranium", Content::Real);
    (m, county)
}

const COUNTIES: &str = "name,uranium\nAITKIN,-0.7\nANOKA,-0.8\n";

#[test]
fn foreign_keys_find_their_rows() {
    let (m, county) = radon();
    let houses = "county\nANOKA\nAITKIN\nANOKA\n";
    let b = m.bound(&[("houses=h.csv", houses), ("counties=c.csv", COUNTIES)]);
    assert_eq!(b.values[&county].numbers[..], [1.0, 0.0, 1.0]);
    let b = m.bound(&[("h.csv", houses), ("counties=c.csv", COUNTIES)]);
    assert_eq!(b.size(PlateId(0)), 3, "the unnamed file goes to the table left");

    let text = m.refused(&[("houses=h.csv", "county\nANOKO\nAITKIN\n"), ("counties=c.csv", COUNTIES)]);
    has(&text, &["V0717 1 cell of `county` names no row of `c.csv` by its key `name`", "h.csv:2:1: \"ANOKO\""]);
    has(&text, &["did you mean \"ANOKA\"?"]);
    let twice = "name,uranium\nA,1\nB,2\nA,3\nA,4\n";
    let text = m.refused(&[("houses=h.csv", "county\nA\n"), ("counties=c.csv", twice)]);
    has(&text, &["V0716 `name` does not tell the rows of `c.csv` apart", "c.csv:4:1: \"A\"", "c.csv:5:1"]);
    has(&text, &["\"A\" stands at c.csv:2 already"]);
}

#[test]
fn tables_without_key_are_indexed_by_row_number() {
    let mut m = Model::default();
    let a = m.table("a");
    let b = m.table("b");
    let index = m.column(a, "b", Content::Index(PlateId(1)));
    m.column(b, "x", Content::Real);
    let bound = m.bound(&[("a=a.csv", "b\n2\n1\n"), ("b=b.csv", "x\n5\n6\n")]);
    assert_eq!(bound.values[&index].numbers[..], [1.0, 0.0]);
    let text = m.refused(&[("a=a.csv", "b\n3\n"), ("b=b.csv", "x\n5\n6\n")]);
    has(&text, &["names no row of `b.csv`, which has 2 rows"]);
}

#[test]
fn files_go_to_their_tables() {
    let (m, _) = radon();
    has(&m.refused(&[]), &["V0701 the table `houses` has no data file", "`houses=houses.csv`", "table `counties`"]);
    has(
        &m.refused(&[("a.csv", "x\n1\n")]),
        &["V0702 it is not clear which table `a.csv` belongs to", "`houses=a.csv`"],
    );
    let text = m.refused(&[("hauses=h.csv", "x\n1\n"), ("counties=c.csv", COUNTIES)]);
    has(&text, &["V0703 `hauses=h.csv`: the model has no table `hauses`", "did you mean `houses=h.csv`?"]);
    assert!(!text.contains("V0701"), "one mistake, one message:\n{text}");
    let all = [("houses=h.csv", "county\nANOKA\n"), ("counties=c.csv", COUNTIES), ("x.csv", "x\n1\n")];
    has(&m.refused(&all), &["V0702 no table of the model takes `x.csv`"]);
    let twice =
        [("houses=h.csv", "county\nANOKA\n"), ("houses=i.csv", "county\nANOKA\n"), ("counties=c.csv", COUNTIES)];
    has(&m.refused(&twice), &["V0704", "`houses=h.csv` and `houses=i.csv`"]);
    has(&schools().0.refused(&[("a.csv", ""), ("b.csv", "")]), &["V0702 2 files are given for the table `schools`"]);
    has(&Model::default().refused(&[("x.csv", "x\n1\n")]), &["V0702", "declares no `data` table"]);
}

fn vector(from: From) -> (Model, VarId, PlateId) {
    let mut m = Model::default();
    let t = m.table("t");
    let plate = m.plate("feature", PlateKind::Header { column: VarId(0) });
    let x = m.column_from(t, "x", Content::Real, from, Some(plate));
    (m, x, plate)
}

#[test]
fn vector_columns_take_labels_from_the_header() {
    let file = [("t.csv", "y,X.1,X.2,X.10\n0,1,2,3\n0,4,5,6\n")];
    let (m, x, plate) = vector(From::Pattern("X.*".into()));
    let b = m.bound(&file);
    assert_eq!(b.plate(plate).labels[..], ["1", "2", "10"]);
    assert_eq!(b.values[&x].dims, [2, 3]);
    // First dimension contiguous: one column after the other.
    assert_eq!(b.values[&x].numbers[..], [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);

    let (m, x, plate) = vector(From::List(vec!["X.10".into(), "y".into()]));
    let b = m.bound(&file);
    assert_eq!(b.plate(plate).labels[..], ["X.10", "y"]);
    assert_eq!(b.values[&x].numbers[..], [3.0, 6.0, 0.0, 0.0]);

    let (m, _, plate) = vector(From::Range("X.2".into(), "X.10".into()));
    assert_eq!(m.bound(&file).plate(plate).labels[..], ["X.2", "X.10"]);

    let (m, ..) = vector(From::Range("X.10".into(), "X.2".into()));
    has(&m.refused(&file), &["V0711 in `t.csv`, `X.10` stands after `X.2`"]);
    let (m, ..) = vector(From::Pattern("Z.*".into()));
    has(&m.refused(&file), &["V0711 no column of `t.csv` matches `Z.*`", "its columns are: `y`, `X.1`"]);
    let (m, ..) = vector(From::Pattern("X.*".into()));
    let text = m.refused(&[("t.csv", "X.1,X.2\n1,2\n3,bad\n,4\n")]);
    has(
        &text,
        &["1 cell of `x` is not a number\n  t.csv:3:2: \"bad\"", "1 cell of `x` is missing\n  t.csv:4:1: empty"],
    );
}

#[test]
fn vector_columns_fit_the_plate_they_share() {
    let mut m = Model::default();
    let t = m.table("t");
    let plate = m.plate("k", PlateKind::Labels(vec!["a".into(), "b".into()]));
    let x = m.column_from(t, "x", Content::Real, From::Pattern("x_*".into()), Some(plate));
    // By label, not by position.
    let b = m.bound(&[("t.csv", "x_b,x_a\n1,2\n")]);
    assert_eq!(b.values[&x].numbers[..], [2.0, 1.0]);
    // Merely numbered columns fill in file order.
    let b = m.bound(&[("t.csv", "x_1,x_2\n1,2\n")]);
    assert_eq!(b.values[&x].numbers[..], [1.0, 2.0]);
    let text = m.refused(&[("t.csv", "x_a,x_c\n1,2\n")]);
    has(&text, &["V0719 the columns of `x` in `t.csv` do not fit the plate `k`", "give both the same labels"]);
    has(&m.refused(&[("t.csv", "x_a\n1\n")]), &["V0719", "the same number of cells"]);
    m.0.plates[1].kind = PlateKind::Sized(number(2.0));
    assert_eq!(m.bound(&[("t.csv", "x_p,x_q\n1,2\n")]).values[&x].numbers[..], [1.0, 2.0]);
}

#[test]
fn sizes_follow_constants_and_other_plates() {
    let mut m = Model::default();
    let t = m.table("t");
    m.column(t, "x", Content::Real);
    // Declared before what it depends on: half = (size(k) - 1) / 2, k = K.
    let k = PlateId(2);
    let size = expr(ExprKind::Size(k));
    let less = expr(ExprKind::Binary(crate::hir::BinOp::Sub, Box::new(size), Box::new(number(1.0))));
    let half = expr(ExprKind::Binary(crate::hir::BinOp::Div, Box::new(less), Box::new(number(2.0))));
    let half = m.plate("half", PlateKind::Sized(half));
    let read = expr(ExprKind::Read { var: VarId(1), index: vec![] });
    assert_eq!(m.plate("k", PlateKind::Sized(read)), k);
    m.plate("codes", PlateKind::Range(number(0.0), number(4.0)));
    m.plate("rest", PlateKind::OneLess(k));
    m.var("K", VarKind::Const { value: number(5.0) }, vec![], Ty::Int);
    let file: [(&str, &[u8]); 1] = [("t.csv", b"x\n1\n2\n")];
    let b = m.bind_with(&file, &[]).0.expect("sizes are fine");
    assert_eq!((b.size(half), b.size(k)), (2, 5));
    assert_eq!(b.plate(PlateId(3)).labels[..], ["0", "1", "2", "3", "4"]);
    assert_eq!(b.plate(PlateId(4)).labels[..], ["1", "2", "3", "4"]);
    let b = m.bind_with(&file, &[("K", "3")]).0.expect("sizes are fine");
    assert_eq!((b.size(half), b.size(k)), (1, 3));

    has(&m.bind_with(&file, &[("K", "4")]).1, &["V0342 the plate `half` would have the size 1.5"]);
    has(&m.bind_with(&file, &[("K", "-1")]).1, &["V0342 the plate `k` has -1 cells"]);
    has(&m.bind_with(&file, &[("K", "1e300")]).1, &["V0721 `--set K=1e300`: `1e300` is not a whole number"]);
    has(&m.bind_with(&file, &[("K", "999999999999")]).1, &["V0342", "more than a fit can hold"]);
}

#[test]
fn set_values_are_checked() {
    let mut m = Model::default();
    let d = m.var("D", VarKind::DataValue { key: "D".into(), default: None }, vec![], Ty::Real);
    m.constrain(d, Constraint::Interval { lower: number(0.0), upper: number(1.0), open: false });
    m.var("Deep", VarKind::Const { value: number(0.0) }, vec![], Ty::Bool);
    m.var("mu", VarKind::Latent, vec![], Ty::Real);
    let set = |sets: &[(&str, &str)]| m.bind_with(&[], sets).1;
    assert_eq!(set(&[("D", "1")]), "");
    has(&set(&[]), &["V0722 `D` has no value", "`--set D=…`"]);
    has(&set(&[("D", "2")]), &["V0715 `D` is 2, which is not in [0, 1]"]);
    let text = set(&[("D", "one")]);
    has(&text, &["V0721 `--set D=one`: `one` is not a number"]);
    assert!(!text.contains("V0722"), "one mistake, one message:\n{text}");
    has(&set(&[("D", "1"), ("D", "0")]), &["V0721 `D` is set twice: to 1 and to 0"]);
    has(&set(&[("D", "1"), ("Deep", "3")]), &["V0721", "not true or false"]);
    has(&set(&[("D", "1"), ("deeep", "1")]), &["V0720", "did you mean `--set Deep=…`?"]);
    has(&set(&[("D", "1"), ("mu", "1")]), &["V0720 `--set mu=1`: `mu` is fitted, not given"]);
}

#[test]
fn ranges_can_differ_by_row() {
    let mut m = Model::default();
    let t = m.table("t");
    let n = m.column(t, "n", Content::Int);
    let y = m.column(t, "y", Content::Int);
    let axis = m.0.plates[0].axis;
    let read = ExprKind::Read { var: n, index: vec![crate::hir::Index::Axis(axis)] };
    let upper = Expr { axes: vec![axis], ..expr(read) };
    m.constrain(y, Constraint::Interval { lower: number(0.0), upper, open: false });
    m.bound(&[("t.csv", "n,y\n5,5\n1,0\n")]);
    has(
        &m.refused(&[("t.csv", "n,y\n5,6\n9,6\n")]),
        &["V0715 1 cell of `y` is not in [0, the bound", "t.csv:2:2: \"6\""],
    );
}

#[test]
fn ranges_can_come_from_another_table() {
    let mut m = Model::default();
    let t = m.table("t");
    let classes = m.table("classes");
    m.column(classes, "name", Content::Key);
    let top = m.column(classes, "top", Content::Real);
    let y = m.column(t, "y", Content::Real);
    let label = crate::hir::Index::Label("low".into(), Span::default());
    let read = |index| expr(ExprKind::Read { var: top, index: vec![index] });
    m.constrain(y, Constraint::Upper { bound: read(label), open: false });
    let text = m.refused(&[("t=t.csv", "y\n1\n"), ("classes=c.csv", "name,top\nlo,1\n")]);
    has(&text, &["V0723 the range of `y` cannot be computed from the data"]);
    m.bound(&[("t=t.csv", "y\n1\n"), ("classes=c.csv", "name,top\nlow,1\n")]);
    has(&m.refused(&[("t=t.csv", "y\n2\n"), ("classes=c.csv", "name,top\nlow,1\n")]), &["not <= 1"]);
}

#[test]
fn everything_wrong_is_said_in_one_run() {
    let (m, _) = radon();
    let text = m.refused(&[("houses=h.csv", "county\n\nX\n"), ("counties=c.csv", "name,uranum\nA,1\nA,2\n")]);
    has(&text, &["V0708", "V0709 `c.csv` has no column `uranium`", "V0716", "V0717"]);
}

/// The text of an example file.
fn example(path: &str) -> String {
    let path = format!("{}/examples/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn examples_bind_without_a_word() {
    let cases: [(&str, &[&str]); 7] = [
        ("eight_schools", &["eight_schools.csv"]),
        ("kidscore", &["kidscore.csv"]),
        ("wells", &["wells.csv"]),
        ("nes_logit", &["nes_logit.csv"]),
        ("radon", &["houses=houses.csv", "counties=counties.csv"]),
        ("poisson_glm", &["poisson_glm.csv"]),
        ("blr", &["blr.csv"]),
    ];
    for (name, files) in cases {
        let mut session = crate::source::Sources::default();
        let mut diags = Diags::default();
        let library = [
            ("functions.vi", include_str!("../../stdlib/functions.vi")),
            ("continuous.vi", include_str!("../../stdlib/continuous.vi")),
            ("discrete.vi", include_str!("../../stdlib/discrete.vi")),
        ];
        let library = library.map(|(n, t)| crate::syntax::parse(session.add(n, t), t, &mut diags));
        let text = example(&format!("{name}/{name}.vi"));
        let ast = crate::syntax::parse(session.add(name, &text), &text, &mut diags);
        let hir = crate::check::check(&ast, &library.iter().collect::<Vec<_>>(), &mut diags);
        let files = files.iter().map(|f| {
            let (table, file) = f.split_once('=').map_or((None, *f), |(t, f)| (Some(t.to_owned()), f));
            DataFile { table, name: file.into(), bytes: example(&format!("{name}/{file}")).into_bytes() }
        });
        let bound = bind(&hir, &Inputs { files: files.collect(), sets: vec![] }, &mut diags);
        assert!(bound.is_some() && diags.list.is_empty(), "{name}: {}", shown(&diags));
    }
}
