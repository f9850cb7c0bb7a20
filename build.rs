//! Generates the parser from `grammar/vi.lalrpop`.

fn main() {
    println!("cargo:rerun-if-changed=grammar/vi.lalrpop");
    println!("cargo:rerun-if-changed=build.rs");
    let out = std::path::Path::new(&std::env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("grammar");
    lalrpop::Configuration::new()
        .set_in_dir("grammar")
        .set_out_dir(out)
        .process()
        .expect("grammar/vi.lalrpop is a grammar without conflicts");
}
