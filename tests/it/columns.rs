//! Columns that share their levels, and dates: against the same models with the work done by hand.

use vic::infer::Target;

use crate::support::{self, checked_value as value, theta};

#[test]
fn columns_share_their_levels() {
    let shared = "data games { home: team, away: team, gap: real }\nplate team = levels(home, away)\n\
                  latent skill[team] ~ Normal(0, 1)\nobserve gap ~ Normal(skill[home] - skill[away], 1)\n";
    let table = "data games { home: teams, away: teams, gap: real }\ndata teams { name: key }\n\
                 latent skill[teams] ~ Normal(0, 1)\nobserve gap ~ Normal(skill[home] - skill[away], 1)\n";
    let games = "home,away,gap\nBern,Ajax,1.5\nCelta,Bern,-2\nCelta,Ajax,0.5\n";
    let mut files = support::csv(games);
    let one = support::compile(shared, &files);
    assert_eq!(one.model.names(), ["skill[Ajax]", "skill[Bern]", "skill[Celta]"]);
    files.files[0].table = Some("games".into());
    let mut teams = support::csv("name\nAjax\nBern\nCelta\n").files.remove(0);
    teams.table = Some("teams".into());
    files.files.push(teams);
    let two = support::compile(table, &files);
    assert_eq!(value(&one, &theta(3)), value(&two, &theta(3)));
}

/// A date is a number of days: it orders a walk, and has a month.
#[test]
fn dates_are_days() {
    let dates = "data months { date: date, y: real }\nplate season = 12\nlet m[months]: season = month(date)\n\
                 latent s[season] ~ Normal(0, 1)\nlatent b ~ Normal(0, 1)\n\
                 let x[t in months along date] = if first(t) then 0 else x[t-1] + y[t-1]\n\
                 observe y ~ Normal(s[m] + b * (date - 19700) / 100 + x, 1)\n";
    let days = "data months { date: int, m: season, x: real, y: real }\nplate season = 12\n\
                latent s[season] ~ Normal(0, 1)\nlatent b ~ Normal(0, 1)\n\
                observe y ~ Normal(s[m] + b * (date - 19700) / 100 + x, 1)\n";
    let one = support::compile(dates, &support::csv("date,y\n2024-03-01,2\n2023-12-31,1\n2024-02-29,-1\n"));
    let two = support::compile(days, &support::csv("date,m,x,y\n19783,3,0,2\n19722,12,0,1\n19782,2,1,-1\n"));
    let at = theta(13);
    let (a, b) = (value(&one, &at), value(&two, &at));
    assert!((a - b).abs() < 1e-12 * a.abs(), "{a} {b}");
}
