//! The tile registers: whether they are there, and products of what they hold.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use super::{SIDE, TILES, Tile};

/// Whether the processor has tiles, and the system lets this process use them.
pub fn tiles_are_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        // Leaf 7: bit 22 is for products of bfloat16, bit 24 for tiles.
        let tiles = || __cpuid(0).eax >= 7 && (__cpuid_count(7, 0).edx >> 22) & 0b101 == 0b101;
        is_x86_feature_detected!("avx512f") && tiles() && permitted()
    })
}

/// Ask Linux for tiles, which it keeps only for processes that have asked (kernel documentation, "Using XSTATE features in
/// user space applications").
fn permitted() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let answer: u64;
    // It changes what the process may do, and no memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

/// Tiles in use by this thread: they have their sizes until this is dropped.
pub struct InUse(());

impl InUse {
    /// # Safety
    /// The tiles [are there](tiles_are_there).
    pub unsafe fn begin() -> InUse {
        #[repr(C, align(64))]
        struct Sizes {
            palette: u8,
            zero: [u8; 15],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        static SIZES: Sizes = Sizes {
            palette: 1,
            zero: [0; 15],
            row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
            rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SIZES, options(nostack, readonly)) };
        InUse(())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        // It gives up what `begin` has set.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Load the two tiles of a part, of the first or the second factor.
macro_rules! take {
    (a $part:literal) => {
        take!("tmm4", "tmm5", "a", $part)
    };
    (b $part:literal) => {
        take!("tmm6", "tmm7", "b", $part)
    };
    ($one:literal, $two:literal, $of:literal, $part:literal) => {
        concat!(
            "tileloadd ",
            $one,
            ", [{",
            $of,
            "} + {row}*1 + 2048*",
            $part,
            "]\n",
            "tileloadd ",
            $two,
            ", [{",
            $of,
            "} + {row}*1 + 2048*",
            $part,
            " + 1024]",
        )
    };
}

/// Load a part, and add its products with the part of the other factor that is loaded.
macro_rules! with {
    ($of:ident $part:literal) => {
        concat!(
            take!($of $part),
            "\ntdpbf16ps tmm0, tmm4, tmm6\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7",
        )
    };
}

/// 32 rows and columns of a product, from so many chunks of two panels; added to what is there, or stored. `whole` says which
/// factors are their first parts alone. The smaller products of parts come first in each chunk.
///
/// # Safety
/// The panels are packed, with at least a chunk, and the result has room.
pub unsafe fn multiply(
    _: &InUse,
    [a, b]: [*const Tile; 2],
    whole: [bool; 2],
    chunks: usize,
    to: *mut f32,
    to_row: usize,
    add: bool,
) {
    const { assert!(TILES * size_of::<Tile>() == 6144) };
    // The steps of a chunk, for all chunks.
    macro_rules! product {
        ($($step:expr),+) => {
            asm!(
                "test {add:e}, {add:e}",
                "jz 2f",
                "tileloadd tmm0, [{to} + {step}*1]",
                "tileloadd tmm1, [{to} + {step}*1 + 64]",
                "tileloadd tmm2, [{lower} + {step}*1]",
                "tileloadd tmm3, [{lower} + {step}*1 + 64]",
                "jmp 3f",
                "2:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "3:",
                $($step,)+
                "add {a}, 6144",
                "add {b}, 6144",
                "cmp {a}, {end}",
                "jne 3b",
                "tilestored [{to} + {step}*1], tmm0",
                "tilestored [{to} + {step}*1 + 64], tmm1",
                "tilestored [{lower} + {step}*1], tmm2",
                "tilestored [{lower} + {step}*1 + 64], tmm3",
                add = in(reg) u32::from(add),
                to = in(reg) to,
                lower = in(reg) to.wrapping_add(SIDE * to_row),
                step = in(reg) to_row * size_of::<f32>(),
                row = in(reg) 64usize,
                a = inout(reg) a => _,
                b = inout(reg) b => _,
                end = in(reg) a.wrapping_add(chunks * TILES),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            )
        };
    }
    unsafe {
        match whole {
            [false, false] => {
                product!(take!(a 0), with!(b 2), with!(b 1), with!(a 1), with!(b 0), with!(a 2), with!(a 0))
            }
            [true, false] => product!(take!(a 0), with!(b 2), with!(b 1), with!(b 0)),
            [false, true] => product!(take!(b 0), with!(a 2), with!(a 1), with!(a 0)),
            [true, true] => product!(take!(a 0), with!(b 0)),
        }
    }
}
