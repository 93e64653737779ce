//! The signatures under our tokens, against the vectors of Wycheproof: those for ECDSA on P-256 with SHA-256, as
//! (r, s) side by side, which is what ES256 is (RFC 7518, 3.4).

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto::verify};
use wycheproof::{
    TestResult,
    ecdsa::{TestName, TestSet},
};

#[test]
fn our_verifier_decides_as_wycheproof_says() {
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in &set.test_groups {
        let key = DecodingKey::from_ec_der(&group.key.key);
        for test in &group.tests {
            let signature = BASE64URL_NOPAD.encode(&test.sig);
            let is_taken = verify(&signature, &test.msg, &key, Algorithm::ES256).unwrap_or(false);
            match test.result {
                TestResult::Valid => {
                    assert!(is_taken, "{}: {}", test.tc_id, test.comment);
                    good += 1;
                }
                TestResult::Invalid => {
                    assert!(!is_taken, "{}: {}", test.tc_id, test.comment);
                    bad += 1;
                }
                TestResult::Acceptable => {}
            }
        }
    }
    assert!(
        good > 100 && bad > 50,
        "{good} good and {bad} bad signatures"
    );
}
