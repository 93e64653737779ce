//! `contracts/RIGHTS.md`: who may what.

use std::fmt::Write as _;

use shopzen_chassis::{Builtin, By};
use shopzen_contracts::{
    Access, Role, Scope,
    catalogue::{self, Kind},
};
use shopzen_edge::RouteAccess;
use shopzen_tests::tree;

const HEAD: &str = "\
# Who may what

This page is written by a test (`tests/documents`) from `src/rights.rs`, from the `ACCESS` that stands beside each
subject, and from the edge's table of routes.

A token carries the scopes of its account's roles. Every worker verifies it itself and checks the `ACCESS` of what is asked
before any handler: 401 for who does not say who they are, 403 for who may not. Whose an order is only its worker knows: to
all but its owner and staff it is not there (404), whoever asks. What stands as *on NATS only* is left to those users by the
broker ([`nats/permissions.conf`](../nats/permissions.conf)), and no route leads there.

";

/// A request that somebody can make.
struct Line {
    name: String,
    subject: String,
    access: Access,
}

fn lines() -> Vec<Line> {
    let messages = catalogue::messages().into_iter().filter_map(|message| {
        Some(Line {
            name: message.body.name().to_owned(),
            subject: message.subject.to_owned(),
            access: message.access?,
        })
    });
    messages
        .chain(Builtin::ALL.into_iter().flat_map(of_builtin))
        .collect()
}

fn of_builtin(builtin: Builtin) -> Vec<Line> {
    let by: &[By] = if builtin.is_about_letters() {
        &[By::Operator, By::Staff]
    } else {
        &[By::Operator]
    };
    let line = |by: &By| Line {
        name: format!("{builtin:?}"),
        subject: builtin.of_any(*by),
        access: builtin.access(*by),
    };
    by.iter().map(line).collect()
}

/// The scope that makes somebody staff here, or that an account needs.
fn scopes_of(access: Access) -> Vec<Scope> {
    match access {
        Access::Scope(scope) | Access::Account(scope) | Access::GuestOr(scope) => vec![scope],
        Access::Owner { account, staff } => vec![account, staff],
        Access::Anyone | Access::SignedIn | Access::Client | Access::Users(_) => Vec::new(),
    }
}

fn roles_with(scope: Scope) -> String {
    let roles = Role::ALL.into_iter();
    let with: Vec<&str> = roles
        .filter(|role| role.scopes().contains(&scope))
        .map(Role::name)
        .collect();
    if with.len() == Role::ALL.len() {
        return "all".to_owned();
    }
    with.join(", ")
}

fn roles_for(access: Access) -> String {
    let roles: Vec<String> = scopes_of(access).into_iter().map(roles_with).collect();
    roles.join("; ")
}

fn routes_to(subject: &str, routes: &[RouteAccess]) -> String {
    let to: Vec<String> = routes
        .iter()
        .filter(|route| route.asks == subject)
        .map(|route| format!("`{} {}`", route.method, route.path))
        .collect();
    to.join("<br>")
}

fn page() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("## Scopes\n\n| Scope | Allows to | Roles |\n|---|---|---|\n");
    for scope in Scope::ALL {
        let (meaning, roles) = (scope.meaning(), roles_with(scope));
        writeln!(text, "| `{scope}` | {meaning} | {roles} |").unwrap();
    }
    text.push_str("\n## Requests\n\n| Request | Subject | Route | Who may | Roles with that scope |\n|---|---|---|---|---|\n");
    let routes = shopzen_edge::accesses();
    for Line {
        name,
        subject,
        access,
    } in lines()
    {
        let (routes, roles) = (routes_to(&subject, &routes), roles_for(access));
        writeln!(
            text,
            "| `{name}` | `{subject}` | {routes} | {access} | {roles} |"
        )
        .unwrap();
    }
    text
}

#[test]
fn the_page_of_rights_is_up_to_date() {
    tree::assert_generated("contracts/RIGHTS.md", &page());
}

#[test]
fn every_route_asks_what_is_in_the_table_and_lets_in_whom_it_says() {
    let lines = lines();
    for route in shopzen_edge::accesses() {
        let line = lines.iter().find(|line| line.subject == route.asks);
        let line = line.unwrap_or_else(|| panic!("{} is asked by nobody's right", route.asks));
        assert_eq!(line.access, route.access, "{} {}", route.method, route.path);
        let is_open = !matches!(route.access, Access::Users(_));
        assert!(
            is_open,
            "{} {} is for users of NATS",
            route.method, route.path
        );
    }
}

#[test]
fn every_message_that_is_asked_says_who_may() {
    for message in catalogue::messages() {
        let is_asked = matches!(message.kind, Kind::Command | Kind::Query);
        assert_eq!(message.access.is_some(), is_asked, "{}", message.subject);
    }
}
