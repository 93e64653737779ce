//! What the samples of accounts elsewhere say.

use shopzen_contracts::{
    Confidential,
    auth::{
        accounts::Done,
        identities::{
            AskProvider, BeginTrip, DescribeIdentity, EndTrip, Identities, Identity,
            IdentityDescription, LinkIdentity, ListIdentities, ListProviders, Provider,
            ProviderSignIn, Providers, Shown, SignInByProvider, Trip, TripEnd, UnlinkIdentity,
        },
    },
};

use super::{
    Samples,
    values::{id, noon},
};

pub(super) fn add(samples: &mut Samples) {
    let sealed = |text: &str| Confidential::new(text);
    let provider = || Provider {
        name: "google".to_owned(),
        title: "Google".to_owned(),
    };
    let return_to = || "/account".to_owned();
    let items = vec![provider()];
    samples.query(&ListProviders {}, &Providers { items });
    let begin = BeginTrip {
        provider: "google".to_owned(),
        return_to: return_to(),
        is_to_link: false,
    };
    let trip = Trip {
        location: sealed("https://accounts.example/authorize?state=s"),
        trip: sealed("trip"),
    };
    samples.query(&begin, &trip);
    let end = EndTrip {
        provider: "google".to_owned(),
        trip: sealed("trip"),
        state: sealed("s"),
        iss: Some("https://accounts.example".to_owned()),
        code: Some(sealed("c")),
        error: None,
    };
    let arrived = TripEnd::Arrived {
        ticket: sealed("ticket"),
        return_to: return_to(),
        is_to_link: false,
    };
    samples.command(&end, &arrived);
    let ticket = sealed("ticket");
    let identity = || sealed("identity");
    let shown = Shown {
        identity: identity(),
    };
    samples.query(&AskProvider { ticket }, &shown);
    let sign_in = SignInByProvider {
        identity: identity(),
        device: "Firefox".to_owned(),
        instead_of: Some(sealed("o")),
    };
    let signed_in = ProviderSignIn::SignedIn {
        session: sealed("s"),
    };
    samples.command(&sign_in, &signed_in);
    let description = IdentityDescription {
        provider: provider(),
        label: "ada@example.com".to_owned(),
    };
    let describe = DescribeIdentity {
        identity: identity(),
    };
    samples.query(&describe, &description);
    let link = LinkIdentity {
        identity: identity(),
    };
    samples.command(&link, &Done {});
    let linked = Identity {
        id: id(42),
        provider: provider(),
        label: "ada@example.com".to_owned(),
        created_at: noon(),
    };
    let identities = Identities {
        items: vec![linked],
        has_password: true,
    };
    samples.query(&ListIdentities {}, &identities);
    samples.command(&UnlinkIdentity { id: id(42) }, &Done {});
}
