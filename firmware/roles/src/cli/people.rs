//! Answers about who may do what, and who did what.

use lintel_api::types::{
    AuditEntry, AuthStatus, Page, SessionInfo, TokenInfo, TotpState, UserInfo,
};

use super::text::{clean, dash, date, more, optional, row, table};

pub(super) fn auth(status: &AuthStatus) -> String {
    let owner = match (status.claimed, status.data_failed) {
        (_, true) => "The storage failed: nobody can log in, and nothing can be stored.",
        (true, false) => "A password is set.",
        (false, false) => "No password is set yet: lintel setup asks for one.",
    };
    let caller = if status.logged_in {
        "You are logged in.\n"
    } else {
        ""
    };
    format!("{owner}\n{caller}")
}

pub(super) fn sessions(page: &Page<SessionInfo>) -> String {
    if page.items.is_empty() {
        return "Nobody is logged in.\n".to_owned();
    }
    let mut rows = vec![row(["SESSION", "FROM", "BEGAN", "LAST USED", "ENDS"])];
    for session in &page.items {
        let own = if session.current { " *" } else { "" };
        let ends = session.ends_unix_s.min(session.idle_ends_unix_s);
        rows.push(row([
            &format!("{}{own}", session.id),
            &optional(session.address),
            &date(session.created_unix_s),
            &date(session.used_unix_s),
            &date(ends),
        ]));
    }
    table(&rows) + &more(&page.next)
}

pub(super) fn totp(state: &TotpState) -> String {
    match (&state.secret, &state.uri, state.state.as_str()) {
        (Some(secret), Some(uri), _) => format!(
            "Give this secret to your phone, then confirm with lintel auth totp --code DIGITS:\n{}\n{}\n",
            clean(secret),
            clean(uri)
        ),
        (_, _, "on") => "From now on a login takes a code, too.\n".to_owned(),
        _ => "A login takes the password alone.\n".to_owned(),
    }
}

pub(super) fn users(page: &Page<UserInfo>) -> String {
    let mut rows = vec![row(["NAME", "MAY", "PASSWORD", "SECOND FACTOR"])];
    let word = |is: bool| if is { "yes" } else { "no" };
    for user in &page.items {
        rows.push(row([
            &user.name,
            &user.role,
            word(user.claimed),
            word(user.totp),
        ]));
    }
    table(&rows) + &more(&page.next)
}

pub(super) fn tokens(page: &Page<TokenInfo>) -> String {
    if page.items.is_empty() {
        return "There is no token.\n".to_owned();
    }
    let mut rows = vec![row(["TOKEN", "NAME", "SCOPE", "MADE", "ENDS"])];
    for token in &page.items {
        let over = if token.expired { " (over)" } else { "" };
        rows.push(row([
            &token.id.to_string(),
            &token.name,
            &token.scope,
            &date(token.created_unix_s),
            &format!("{}{over}", date(token.expires_unix_s)),
        ]));
    }
    table(&rows) + &more(&page.next)
}

pub(super) fn audit(page: &Page<AuditEntry>) -> String {
    if page.items.is_empty() {
        return "Nothing was changed yet.\n".to_owned();
    }
    let mut rows = vec![row([
        "WHEN", "WHO", "FROM", "WHAT", "OUTCOME", "REVISION", "REASON",
    ])];
    for entry in &page.items {
        rows.push(row([
            &date(entry.unix_s),
            &entry.who,
            &optional(entry.address),
            &entry.method.replace('.', " "),
            &entry.outcome,
            &optional(entry.revision),
            &match entry.reason.as_str() {
                "" => dash(),
                reason => clean(reason),
            },
        ]));
    }
    table(&rows) + &more(&page.next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_what_they_did_are_told_in_lines() {
        let entry = AuditEntry {
            unix_s: 0,
            who: "token lap\x1b[2Jtop".to_owned(),
            address: None,
            method: "config.apply".to_owned(),
            outcome: "done".to_owned(),
            reason: String::new(),
            revision: Some(7),
        };
        let page = |items| Page {
            items,
            next: Some("5".to_owned()),
        };
        assert_eq!(
            audit(&page(vec![entry])),
            "WHEN                 WHO              FROM  WHAT          OUTCOME  REVISION  REASON\n\
             1970-01-01 00:00:00  token lap[2Jtop  -     config apply  done     7         -\n\
             There are more: --cursor 5\n"
        );
        let none = Page {
            items: Vec::new(),
            next: None,
        };
        assert_eq!(audit(&none), "Nothing was changed yet.\n");
        let tokens_of_nobody = Page {
            items: Vec::new(),
            next: None,
        };
        assert_eq!(tokens(&tokens_of_nobody), "There is no token.\n");
    }
}
