//! One choice for each item, of least total cost, under a budget: the multiple-choice knapsack, solved
//! as an integer programme by branch and bound (`good_lp` with `microlp`).

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, microlp, variable};

/// One of the things that an item may become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What it costs; finite, not below 0.
    pub cost: f64,
    /// What it takes of the budget; finite, not below 0.
    pub size: f64,
}

/// For each item the index of its choice, so that the sizes sum up to at most `budget` and the costs to
/// as little as possible. `None` if the smallest choices do not fit.
///
/// Solvers work to a tolerance, some 10⁻⁷ of the largest number: what such a solution leaves of the
/// budget is spent on the items that gain most.
pub fn choose(items: &[Vec<Choice>], budget: f64) -> Option<Vec<usize>> {
    let smallest: Vec<usize> = items.iter().map(|choices| cheapest_of_smallest(choices)).collect::<Option<_>>()?;
    if total(items, &smallest) > budget {
        return None;
    }
    let mut chosen = solve(items, budget).filter(|chosen| total(items, chosen) <= budget).unwrap_or(smallest);
    while let Some((item, choice)) = best_step(items, &chosen, budget) {
        chosen[item] = choice;
    }
    Some(chosen)
}

fn cheapest_of_smallest(choices: &[Choice]) -> Option<usize> {
    let key = |c: &Choice| (c.size, c.cost);
    let less = |a: &Choice, b: &Choice| key(a) < key(b);
    (0..choices.len()).reduce(|a, b| if less(&choices[b], &choices[a]) { b } else { a })
}

fn total(items: &[Vec<Choice>], chosen: &[usize]) -> f64 {
    items.iter().zip(chosen).map(|(choices, &at)| choices[at].size).sum()
}

fn solve(items: &[Vec<Choice>], budget: f64) -> Option<Vec<usize>> {
    let largest = |number: fn(&Choice) -> f64| {
        let largest = items.iter().flatten().map(number).fold(0.0, f64::max);
        if largest > 0.0 { largest } else { 1.0 }
    };
    let (cost, size) = (largest(|c| c.cost), largest(|c| c.size));
    let mut variables = ProblemVariables::new();
    let taken: Vec<Vec<Variable>> =
        items.iter().map(|choices| choices.iter().map(|_| variables.add(variable().binary())).collect()).collect();
    let sum = |number: &dyn Fn(&Choice) -> f64| -> Expression {
        let pairs = items.iter().flatten().zip(taken.iter().flatten());
        pairs.map(|(choice, &taken)| number(choice) * taken).sum()
    };
    let (costs, sizes) = (sum(&|c| c.cost / cost), sum(&|c| c.size / size));
    let mut problem = variables.minimise(costs).using(microlp).with(constraint!(sizes <= budget / size));
    for item in &taken {
        let one: Expression = item.iter().sum();
        problem = problem.with(constraint!(one == 1));
    }
    let solution = problem.solve().ok()?;
    let most = |item: &Vec<Variable>| {
        let value = |i: usize| solution.value(item[i]);
        (0..item.len()).reduce(|a, b| if value(b) > value(a) { b } else { a })
    };
    taken.iter().map(most).collect()
}

/// The change of one item that fits and saves most cost.
fn best_step(items: &[Vec<Choice>], chosen: &[usize], budget: f64) -> Option<(usize, usize)> {
    let left = budget - total(items, chosen);
    let mut best: Option<(f64, (usize, usize))> = None;
    for (item, choices) in items.iter().enumerate() {
        let now = choices[chosen[item]];
        for (at, choice) in choices.iter().enumerate() {
            let saved = now.cost - choice.cost;
            if choice.size - now.size <= left && saved > best.map_or(0.0, |(saved, _)| saved) {
                best = Some((saved, (item, at)));
            }
        }
    }
    best.map(|(_, step)| step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cost(items: &[Vec<Choice>], chosen: &[usize]) -> f64 {
        items.iter().zip(chosen).map(|(choices, &at)| choices[at].cost).sum()
    }

    /// The least cost by trying everything.
    fn exhaustive(items: &[Vec<Choice>], budget: f64) -> Option<f64> {
        match items.split_first() {
            None => (budget >= 0.0).then_some(0.0),
            Some((first, rest)) => {
                let least = |c: &Choice| Some(c.cost + exhaustive(rest, budget - c.size)?);
                first.iter().filter_map(least).reduce(f64::min)
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_better(
            numbers in prop::collection::vec(prop::collection::vec((0u32..1000, 0u32..1000), 1..4), 1..7),
            budget in 0u32..5000,
        ) {
            let choice = |&(cost, size): &(u32, u32)| Choice { cost: f64::from(cost), size: f64::from(size) };
            let items: Vec<Vec<Choice>> = numbers.iter().map(|item| item.iter().map(choice).collect()).collect();
            let budget = f64::from(budget);
            let chosen = choose(&items, budget);
            prop_assert_eq!(chosen.as_ref().map(|c| cost(&items, c)), exhaustive(&items, budget));
            if let Some(chosen) = chosen {
                prop_assert!(total(&items, &chosen) <= budget);
            }
        }
    }

    #[test]
    fn a_hundred_layers_of_three_widths() {
        let layer = |i: usize| {
            let weights = ((i * 7919) % 997 + 10) as f64 * 100.0;
            let noise = ((i * 104_729) % 613 + 1) as f64 * 1e-7;
            [8.0, 4.0, 2.0]
                .map(|bits| Choice { cost: noise * 4f64.powf(8.0 - bits), size: weights * bits / 8.0 })
                .to_vec()
        };
        let items: Vec<Vec<Choice>> = (0..100).map(layer).collect();
        let all: f64 = items.iter().map(|c| c[0].size).sum();
        let started = std::time::Instant::now();
        let mut before = f64::INFINITY;
        for share in [0.25, 0.3, 0.5, 0.75, 0.99, 1.0] {
            let chosen = choose(&items, share * all).unwrap();
            assert!(total(&items, &chosen) <= share * all);
            let now = cost(&items, &chosen);
            assert!(now < before, "more room costs less: {now} {before}");
            before = now;
        }
        assert!(choose(&items, 0.249 * all).is_none());
        assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    }

    #[test]
    fn nothing_to_choose() {
        assert_eq!(choose(&[], 0.0), Some(Vec::new()));
        assert_eq!(choose(&[Vec::new()], 1.0), None);
    }
}
