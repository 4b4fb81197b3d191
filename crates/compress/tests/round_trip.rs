//! Whatever comes in whatever pieces, with flushes in between, is what comes out of the decoder; and after a flush all of it does.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::io::Read;

use compress::Encoder;
use model::ContentCoding;
use proptest::prelude::*;

const ALL: [ContentCoding; 3] = [ContentCoding::Gzip, ContentCoding::Brotli, ContentCoding::Zstd];

/// What can be decoded of `coded`, be it no whole body.
fn decoded(coding: ContentCoding, coded: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // An error behind the last byte that came is how the end of an incomplete body shows.
    let _ = match coding {
        ContentCoding::Gzip => flate2::read::GzDecoder::new(coded).read_to_end(&mut out),
        ContentCoding::Brotli => brotli::Decompressor::new(coded, 4096).read_to_end(&mut out),
        ContentCoding::Zstd => {
            let mut context = zstd_safe::DCtx::create();
            let mut input = zstd_safe::InBuffer::around(coded);
            loop {
                out.reserve(1024);
                let (before, room) = (out.len(), out.capacity());
                let mut output = zstd_safe::OutBuffer::around_pos(&mut out, before);
                context.decompress_stream(&mut output, &mut input).unwrap();
                if out.len() < room && input.pos() == coded.len() {
                    break Ok(0);
                }
            }
        }
    };
    out
}

/// Whether `coded` ends as a body of that coding ends.
fn is_whole(coding: ContentCoding, coded: &[u8]) -> bool {
    let mut sink = Vec::new();
    match coding {
        ContentCoding::Gzip => flate2::read::GzDecoder::new(coded).read_to_end(&mut sink).is_ok(),
        ContentCoding::Brotli => brotli::Decompressor::new(coded, 4096).read_to_end(&mut sink).is_ok(),
        ContentCoding::Zstd => {
            zstd_safe::find_frame_compressed_size(coded).is_ok_and(|size| size == coded.len())
        }
    }
}

/// Bytes that compress, and bytes that do not.
fn pieces() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..3000),
        (any::<u8>(), 0..40_000_usize).prop_map(|(byte, length)| vec![byte; length]),
        "[a-e ]{0,2000}".prop_map(String::into_bytes),
    ];
    prop::collection::vec((piece, any::<bool>()), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_came_comes_out(pieces in pieces()) {
        for coding in ALL {
            let (mut plain, mut coded) = (Vec::new(), Vec::new());
            let mut encoder = Encoder::new(coding).unwrap();
            for (piece, flushes) in &pieces {
                plain.extend_from_slice(piece);
                encoder.encode(piece, &mut coded).unwrap();
                if *flushes {
                    encoder.flush(&mut coded).unwrap();
                    prop_assert!(!encoder.holds());
                    prop_assert!(decoded(coding, &coded) == plain, "{coding:?}: not all of it after a flush");
                    prop_assert!(!is_whole(coding, &coded), "{coding:?}: a flush looks like an end");
                }
            }
            encoder.finish(&mut coded).unwrap();
            prop_assert!(decoded(coding, &coded) == plain, "{coding:?}");
            prop_assert!(is_whole(coding, &coded), "{coding:?}");
        }
    }
}

#[test]
fn text_gets_smaller() {
    let text = include_str!("round_trip.rs");
    for coding in ALL {
        let mut coded = Vec::new();
        let mut encoder = Encoder::new(coding).unwrap();
        encoder.encode(text.as_bytes(), &mut coded).unwrap();
        encoder.finish(&mut coded).unwrap();
        assert!(coded.len() * 2 < text.len(), "{coding:?}: {} of {}", coded.len(), text.len());
    }
}
