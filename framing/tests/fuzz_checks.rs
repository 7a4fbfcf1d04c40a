//! The checks of the fuzz targets, on seeds that reach deep and on random changes of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

#[path = "../fuzz/checks.rs"]
mod checks;

use proptest::prelude::*;

type Check = fn(&[u8]) -> usize;

/// Each check with inputs, and how far each gets.
const SEEDS: &[(Check, &[(&str, usize)])] = &[
    (
        checks::engine_packet,
        &[
            ("4hello", 2),
            ("2probe", 2),
            ("bAQIDBA==", 2),
            ("", 1),
            ("é", 1),
            ("bé", 1),
            (
                r#"0{"sid":"TOY1qTTymaxOa0FUAAAB","upgrades":[],"pingInterval":1,"pingTimeout":2,"maxPayload":3}"#,
                2,
            ),
        ],
    ),
    (
        checks::query,
        &[
            ("EIO=4&transport=polling", 1),
            ("EIO=4&transport=websocket", 1),
            ("EIO=3&transport=polling&EIO=4", 1),
            ("EIO=4&transport=polling&EIO=3", 0),
            ("%45IO=%34&tr%61nsport=poll%69ng&t=x+y%zz%", 1),
            ("transport=polling&sid=TOY1qTTymaxOa0FUAAAB", 2),
            ("transport=websocket&sid=TOY1qTTymaxOa0FUAAAB&b64=1", 1),
            ("transport=polling&sid=TOY1qTTymaxOa0FUAAAB&sid=", 0),
            ("transport=polling&EIO=4&sid=%54OY1", 0),
            ("transport=&EIO", 0),
            ("", 0),
        ],
    ),
    (
        checks::payload,
        &[
            ("4a\x1ebAQID\x1e2", 3),
            ("4a\x1e\x1e4b", 1),
            ("2\x1e2\x1e2\x1e2\x1e2\x1e2\x1e2\x1e2\x1e2", 8),
            ("", 0),
        ],
    ),
    (
        checks::socket_decoder,
        &[
            ("0/llm,{\"a\":[1]}\n2/llm,7[9,{\"x\":\"\\ud83d\"},\"é\"]\n33[1.0]\n1/llm,", 4),
            (
                "52-/n,1[\"e\",{\"_placeholder\":true,\"num\":0},{\"a\":{\"num\":1,\"_placeholder\":true}}]\n!abc\n!\n61-0[]\n!x",
                2,
            ),
            ("51-[null]\n!x\n2[\"\\u0000\\\"\"]\n2[\"a\",\"\u{2028}\"]", 2),
            ("51-[1]\n2[1]\n2[2]\n4{}\n\n7", 1),
        ],
    ),
    (
        checks::json,
        &[
            (
                r#" {"clientId":"\ud83d","clientId":1,"a":[1,-2.5e3,true,null,"\u00e9\n"],"\u0062":{"":{}}} "#,
                11,
            ),
            (r#"{"nt":"\\ud41d"}"#, 2),
            ("[[[[[[[[]]]]]]]]", 8),
            ("[[[[[[[[[]]]]]]]]]", 0),
            ("\"\\ude00\\ud83d\"", 1),
            ("1e999", 1),
        ],
    ),
    (
        checks::session,
        &[
            (
                "40/llm,{}\n42/llm,1[1]\n451-/llm,2[\"x\",{\"_placeholder\":true,\"num\":0}]\n!data\n3\n41/llm,",
                4,
            ),
            ("40\n42[1]\n42[2]\n40\n40/no,\n42/no,[1]\n43/,1[]\n6\n~~~\n1\n4x", 5),
            ("40/a\n40/b\n40/c\n40/d", 3),
            ("40\n~aaaaaaaaaaaaaaaaaaaaaaaaa\n3\n420[1]\n2", 2),
        ],
    ),
];

#[test]
fn seeds() {
    for (check, seeds) in SEEDS {
        for (seed, reached) in *seeds {
            assert_eq!(check(seed.as_bytes()), *reached, "{seed:?}");
        }
    }
}

/// A seed with some bytes overwritten, cut out, doubled or put in.
fn mutated() -> impl Strategy<Value = (Check, Vec<u8>)> {
    let seeds: Vec<(Check, &str)> =
        SEEDS.iter().flat_map(|(check, seeds)| seeds.iter().map(|(seed, _)| (*check, *seed))).collect();
    let byte = prop_oneof![
        3 => prop::sample::select(&b"0123456789-/,[]{}\":\\ub \n!~\x1e\xc3\xa9null_&=%+"[..]),
        1 => any::<u8>(),
    ];
    let change = (0..4_u8, any::<prop::sample::Index>(), byte);
    (prop::sample::select(seeds), prop::collection::vec(change, 0..6)).prop_map(|((check, seed), changes)| {
        let mut data = seed.as_bytes().to_vec();
        for (kind, at, byte) in changes {
            let at = at.index(data.len() + 1);
            match kind {
                0 if at < data.len() => data[at] = byte,
                1 if at < data.len() => drop(data.remove(at)),
                2 => data.extend_from_within(at..),
                _ => data.insert(at, byte),
            }
        }
        (check, data)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn changed_seeds((check, data) in mutated()) {
        check(&data);
    }
}

proptest! {
    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..200)) {
        for (check, _) in SEEDS {
            let _ = check(&data);
        }
    }

    #[test]
    fn any_text(data in any::<String>(), kind in "[0-6b]?[0-6]?[0-9]?-?") {
        for (check, _) in SEEDS {
            let _ = check(format!("{kind}{data}").as_bytes());
        }
    }
}
