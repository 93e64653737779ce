//! Partners as staff see them: clients that act for themselves, and nothing else.

use shopzen_chassis::{Answers, Cx, Refused, Request};
use shopzen_contracts::{
    FieldError, Problem,
    auth::{
        clients::{AddClient, Client, ClientAndSecret, Clients, GrantType, ListClients},
        partners::{
            AddPartner, GetPartner, ListPartners, RevokePartner, RotatePartnerSecret, SCOPES,
        },
    },
};
use sqlx::PgPool;

use crate::{
    Auth,
    clients::{self, Kind},
    store,
};

pub(crate) const PARTNERS: Kind = Kind {
    name: "partner",
    grants: Some(&[GrantType::ClientCredentials.as_str()]),
};

pub(crate) async fn add(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<AddPartner>],
) -> Answers<ClientAndSecret> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let added = match client_of(&request.body) {
            Ok(client) => clients::register(cx, &request.caller, &client).await?,
            Err(problem) => Err(problem),
        };
        if let Ok(added) = &added {
            clients::record(cx, request, PARTNERS, None, &added.client);
        }
        answers.push(added);
    }
    Ok(answers)
}

fn client_of(partner: &AddPartner) -> Result<AddClient, Problem> {
    let unknown = |(index, _): (usize, &String)| {
        let detail = format!("must be one of: {}", SCOPES.join(", "));
        FieldError::new(format!("/allow/{index}"), "unknown_scope", detail)
    };
    let scopes = partner.allow.iter().enumerate();
    let mut errors: Vec<FieldError> = scopes
        .filter(|(_, scope)| !SCOPES.contains(&scope.as_str()))
        .map(unknown)
        .collect();
    if partner.allow.is_empty() {
        let detail = format!("must be one or more of: {}", SCOPES.join(", "));
        errors.push(FieldError::new("/allow", "required", detail));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    Ok(AddClient {
        name: partner.name.clone(),
        grants: vec![GrantType::ClientCredentials],
        redirect_uris: Vec::new(),
        scopes: partner.allow.clone(),
        is_trusted: false,
        is_public: false,
        keys: Vec::new(),
    })
}

pub(crate) async fn rotate_secret(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<RotatePartnerSecret>],
) -> Answers<ClientAndSecret> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let RotatePartnerSecret { id, overlap_s } = request.body;
        let before = store::clients::find_client(cx.db(), id).await?;
        let rotated = clients::rotate(cx, &request.caller, PARTNERS, id, overlap_s).await?;
        if let Ok(rotated) = &rotated {
            clients::record(cx, request, PARTNERS, before.as_ref(), &rotated.client);
        }
        answers.push(rotated);
    }
    Ok(answers)
}

pub(crate) async fn revoke(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<RevokePartner>],
) -> Answers<Client> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let before = store::clients::find_client(cx.db(), request.body.id).await?;
        let ended = clients::end(cx, PARTNERS, request.body.id).await?;
        if let Ok(partner) = &ended {
            clients::record(cx, request, PARTNERS, before.as_ref(), partner);
        }
        answers.push(ended);
    }
    Ok(answers)
}

pub(crate) async fn get(
    db: &PgPool,
    _: &Auth,
    request: &Request<GetPartner>,
) -> Result<Client, Refused> {
    clients::one(db, PARTNERS, request.body.id).await
}

pub(crate) async fn list(
    db: &PgPool,
    _: &Auth,
    request: &Request<ListPartners>,
) -> Result<Clients, Refused> {
    let ListPartners {
        revoked,
        limit,
        cursor,
    } = request.body.clone();
    let asked = ListClients {
        revoked,
        limit,
        cursor,
    };
    clients::page(db, PARTNERS, &asked).await
}
