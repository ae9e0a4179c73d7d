//! How much text each guard reads in a second: ordinary text of 1 KiB in which nothing is found, and the same with letters of other scripts.
//! One JSON object a line.

#![expect(clippy::print_stdout, reason = "its output")]

use std::hint::black_box;
use std::time::Instant;

use vidimus_core::guard::Guard;
use vidimus_guard::find;

const ORDINARY: &str = "The order of 12 chairs (EUR 1,499.90) leaves the warehouse on 2026-11-28 and is \
    with you on Tuesday; please have somebody at the door, as the driver calls about an hour before. ";
const OTHER: &str = "Die Bestellung über 12 Stühle verläßt das Lager; прошу вас быть дома во вторник. ";
const LENGTH: usize = 1024;
const ROUNDS: usize = 4096;

fn main() {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    for guard in Guard::ALL {
        for (what, text) in [("ascii", ORDINARY), ("other scripts", OTHER)] {
            let text = text.repeat(LENGTH / text.len() + 1);
            let begun = Instant::now();
            for _ in 0..ROUNDS {
                if find(&guard, "note", black_box(&text)).is_ok_and(|found| !found.is_empty()) {
                    println!("{guard:?} finds something in {what}");
                    return;
                }
            }
            let bytes = u32::try_from(text.len() * ROUNDS).map_or(f64::NAN, f64::from);
            println!(
                r#"{{"name":"guards","value":{:.1},"unit":"MB/s","parameters":{{"guard":"{}","text":"{what}","bytes":{}}}}}"#,
                bytes / begun.elapsed().as_secs_f64() / 1e6,
                guard.as_str(),
                text.len()
            );
        }
    }
}
