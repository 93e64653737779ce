//! `shopzen activity`: what staff did.

use serde_json::json;
use shopzen_chassis::{Activity, ListActivity};
use shopzen_contracts::Service;

use super::{Shop, unanswered};
use crate::{
    cli::{ActivityArgs, Options},
    exit::Failure,
    terminal::Terminal,
};

pub async fn activity(
    args: ActivityArgs,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let shop = Shop::connect(options).await?;
    let asking = shop.as_staff().await?;
    let list = ListActivity {
        actor: args.actor,
        thing: args.thing,
        since: args.since,
        before: None,
        limit: args.limit,
    };
    let items = shop.asker().activity(&Service::ALL, &list, &asking).await;
    let items = items.map_err(unanswered)?;
    terminal.result(&json!({ "items": items }), || {
        if items.is_empty() {
            return "nothing was done".to_owned();
        }
        let lines: Vec<String> = items.iter().map(line).collect();
        lines.join("\n")
    });
    Ok(())
}

fn line(activity: &Activity) -> String {
    let at = activity.at.strftime("%F %T");
    let why = activity.reason.as_ref();
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    let what = activity.route.as_ref().unwrap_or(&activity.subject);
    format!("{at}  {}  {}  {what}{why}", activity.actor, activity.thing)
}
