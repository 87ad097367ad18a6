//! Recipes from cheap to dear, tried until one keeps the accuracy.
//!
//! Nothing here knows how a recipe is measured: that is the [`Bench`]'s.

use fewbits_quantize::{Calibration, Mode, Override, Recipe, WeightBits, WeightRounding, WeightScales};

use crate::Result;

/// What stands behind the ladder: quantizes, measures, and knows which layers matter.
pub(crate) trait Bench {
    /// Quantizes with a recipe, measures the result, and returns the loss in points; infinite where the
    /// outputs are no numbers. `name` is for people.
    fn measure(&mut self, name: &str, recipe: &Recipe) -> Result<f64>;

    /// The same, but with the weights that were learned last instead of learning them again: a quick
    /// word on a recipe that differs from that one in few layers.
    fn estimate(&mut self, name: &str, recipe: &Recipe) -> Result<f64>;

    /// Names of layers that `raise` changes, those first whose change buys most.
    fn rank(&mut self, recipe: &Recipe, raise: Raise) -> Result<Vec<String>>;
}

/// What mixed precision gives to single layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raise {
    /// Weights of eight bits.
    EightBits,
    /// Float.
    Float,
}

impl Raise {
    /// The recipe with these layers raised.
    pub(crate) fn apply(self, recipe: &Recipe, layers: &[String]) -> Recipe {
        let mut raised = recipe.clone();
        for name in layers {
            match self {
                Raise::EightBits => {
                    let eight = Override { weights: Some(WeightBits::default()) };
                    raised.overrides.insert(name.clone(), eight);
                }
                Raise::Float => {
                    raised.overrides.remove(name);
                    raised.exclude.push(name.clone());
                }
            }
        }
        raised
    }

    fn describe(self, count: usize, of: usize) -> String {
        match self {
            Raise::EightBits => format!("mixed precision: {count} of {of} layers with 8-bit weights"),
            Raise::Float => format!("mixed precision: {count} of {of} layers float"),
        }
    }
}

/// Which steps make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Rounding can be learned: there are samples.
    pub(crate) learning: bool,
    /// Weights of single layers may get more bits.
    pub(crate) wider: bool,
    /// Single layers may stay float.
    pub(crate) float: bool,
}

/// How often a mixed-precision recipe that an estimate found is made longer before it is given up.
const MOST_CORRECTIONS: usize = 3;

/// Climbs until the loss is at most `limit` points. Returns the recipe that did it, or `None`.
///
/// What `base` says other than the default recipe of its mode is kept in all steps.
pub(crate) fn climb(base: &Recipe, limit: f64, allowed: Allowed, bench: &mut dyn Bench) -> Result<Option<Recipe>> {
    let mut climb = Climb { base, limit, bench, best: None, tried: Vec::new() };
    for (name, recipe) in simple(base) {
        if climb.holds(&name, &recipe)? {
            return Ok(Some(recipe));
        }
    }
    let other = Recipe { weight_scales: other_scales(base), ..climb.best() };
    if base.mode != Mode::Float16 && free(base, |r| &r.weight_scales) && climb.holds("other weight scales", &other)? {
        return Ok(Some(other));
    }
    let learned = Recipe { weight_rounding: WeightRounding::Learned, ..climb.best() };
    let learns = allowed.learning && base.mode != Mode::Float16 && free(base, |r| &r.weight_rounding);
    if learns && climb.holds("learned rounding", &learned)? {
        return Ok(Some(learned));
    }
    climb.mixed(allowed)
}

/// Steps that differ in what one pass over the samples gathered, not in what they cost.
fn simple(base: &Recipe) -> Vec<(String, Recipe)> {
    let plain = Recipe { weight_rounding: WeightRounding::Nearest, bias_correction: false, ..base.clone() };
    let corrected = Recipe::new(base.mode);
    let corrected = Recipe {
        weight_rounding: corrected.weight_rounding,
        bias_correction: corrected.bias_correction,
        ..base.clone()
    };
    let mut steps = Vec::new();
    if base.mode == Mode::Int8 {
        let with = |recipe: &Recipe, calibration| Recipe { calibration, ..recipe.clone() };
        steps.push(("min-max ranges".to_owned(), with(&plain, Calibration::Minmax)));
        steps.push(("mse ranges".to_owned(), with(&plain, Calibration::Mse)));
        steps.push(("balanced rounding, bias correction".to_owned(), with(&corrected, Calibration::Mse)));
        for (name, method) in [
            ("percentile ranges", Calibration::Percentile),
            ("entropy ranges", Calibration::Entropy),
            ("moving-average ranges", Calibration::MovingAverage),
            ("min-max ranges", Calibration::Minmax),
        ] {
            steps.push((format!("{name}, balanced, corrected"), with(&corrected, method)));
        }
    } else {
        steps.push(("nearest rounding".to_owned(), plain));
        steps.push(("balanced rounding, bias correction".to_owned(), corrected));
    }
    steps.into_iter().map(|(name, recipe)| (name, keep_choices(base, recipe))).collect()
}

/// Whether a field of the recipe has its default: then it was not chosen on purpose.
fn free<T: PartialEq>(base: &Recipe, field: impl Fn(&Recipe) -> &T) -> bool {
    field(base) == field(&Recipe::new(base.mode))
}

/// The step with what was chosen on purpose put back.
fn keep_choices(base: &Recipe, mut step: Recipe) -> Recipe {
    if !free(base, |r| &r.calibration) {
        step.calibration = base.calibration;
    }
    if !free(base, |r| &r.weight_rounding) {
        step.weight_rounding = base.weight_rounding;
    }
    if !free(base, |r| &r.bias_correction) {
        step.bias_correction = base.bias_correction;
    }
    step
}

fn other_scales(base: &Recipe) -> WeightScales {
    match base.weight_scales.resolved(base.weights) {
        WeightScales::Max => WeightScales::Mse,
        _ => WeightScales::Max,
    }
}

struct Climb<'a> {
    base: &'a Recipe,
    limit: f64,
    bench: &'a mut dyn Bench,
    /// The least loss so far, the cheapest first.
    best: Option<(f64, Recipe)>,
    tried: Vec<Recipe>,
}

impl Climb<'_> {
    fn best(&self) -> Recipe {
        self.best.as_ref().map_or_else(|| self.base.clone(), |(_, recipe)| recipe.clone())
    }

    /// Measures a recipe, unless it was; whether it keeps the accuracy.
    fn holds(&mut self, name: &str, recipe: &Recipe) -> Result<bool> {
        // What was tried has failed.
        if self.tried.contains(recipe) {
            return Ok(false);
        }
        self.tried.push(recipe.clone());
        let loss = self.bench.measure(name, recipe)?;
        if self.best.as_ref().is_none_or(|(least, _)| loss < *least) {
            self.best = Some((loss, recipe.clone()));
        }
        Ok(loss <= self.limit)
    }

    /// Leaves out single layers, first of narrow weights, then of quantization.
    fn mixed(&mut self, allowed: Allowed) -> Result<Option<Recipe>> {
        let narrow = self.base.mode != Mode::Float16 && self.base.weights < WeightBits::default();
        if narrow && allowed.wider {
            let start = self.best();
            if let Some(found) = self.fewest(&start, Raise::EightBits, 0)? {
                return Ok(Some(found));
            }
        }
        if !allowed.float {
            return Ok(None);
        }
        let start = self.best();
        self.fewest(&start, Raise::Float, 1)
    }

    /// Raises as few layers as keep the accuracy, most important first: doubles their number until it
    /// holds, then bisects. `spared` layers are never raised.
    fn fewest(&mut self, start: &Recipe, raise: Raise, spared: usize) -> Result<Option<Recipe>> {
        let ranked = self.bench.rank(start, raise)?;
        let most = ranked.len().saturating_sub(spared);
        let learned = start.weight_rounding == WeightRounding::Learned;
        let recipe = |count: usize| raise.apply(start, &ranked[..count]);
        let name = |count: usize| raise.describe(count, ranked.len());
        let (mut failed, mut held) = (0, None);
        let mut count = 1.min(most);
        while count > failed && held != Some(count) {
            let (name, recipe) = (name(count), recipe(count));
            let holds = match learned {
                true => self.bench.estimate(&format!("{name} (estimate)"), &recipe)? <= self.limit,
                false => self.holds(&name, &recipe)?,
            };
            if holds {
                held = Some(count);
            } else {
                failed = count;
            }
            count = match held {
                Some(held) => failed + (held - failed).div_ceil(2),
                None => (2 * count).min(most),
            };
        }
        match held {
            Some(held) if learned => self.confirm(held, most, &name, &recipe),
            // What all of it gives is what further steps stand on.
            None if learned && most > 0 => self.confirm(most, most, &name, &recipe),
            // The last that held, though not the last that was measured.
            held => Ok(held.map(recipe)),
        }
    }

    /// Learns the rounding of a recipe that an estimate found, and of a few longer ones if it does not
    /// hold what the estimate promised.
    fn confirm(
        &mut self,
        found: usize,
        most: usize,
        name: &dyn Fn(usize) -> String,
        recipe: &dyn Fn(usize) -> Recipe,
    ) -> Result<Option<Recipe>> {
        let mut count = found;
        for step in 0..=MOST_CORRECTIONS {
            let recipe = recipe(count);
            if self.holds(&name(count), &recipe)? {
                return Ok(Some(recipe));
            }
            if count == most {
                break;
            }
            count = (count + (1 << step)).min(most);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Losses by a rule, and what was asked.
    struct Fake<F> {
        loss: F,
        layers: usize,
        measured: Vec<String>,
        estimated: usize,
    }

    impl<F: Fn(&Recipe) -> f64> Fake<F> {
        fn new(layers: usize, loss: F) -> Self {
            Fake { loss, layers, measured: Vec::new(), estimated: 0 }
        }
    }

    impl<F: Fn(&Recipe) -> f64> Bench for Fake<F> {
        fn measure(&mut self, name: &str, recipe: &Recipe) -> Result<f64> {
            self.measured.push(name.to_owned());
            Ok((self.loss)(recipe))
        }

        fn estimate(&mut self, _: &str, recipe: &Recipe) -> Result<f64> {
            self.estimated += 1;
            // Too hopeful by a little.
            Ok((self.loss)(recipe) - 0.1)
        }

        fn rank(&mut self, _: &Recipe, _: Raise) -> Result<Vec<String>> {
            Ok((0..self.layers).map(|i| format!("layer{i}")).collect())
        }
    }

    const ALL: Allowed = Allowed { learning: true, wider: true, float: true };

    fn bits(n: u8) -> Recipe {
        Recipe { weights: WeightBits::try_from(n).unwrap(), ..Recipe::new(Mode::Int8) }
    }

    #[test]
    fn the_first_step_that_holds_ends_the_climb() {
        let mut bench = Fake::new(4, |_| 0.5);
        let found = climb(&bits(8), 0.5, ALL, &mut bench).unwrap().unwrap();
        assert_eq!((found.calibration, found.bias_correction), (Calibration::Minmax, false));
        assert_eq!(bench.measured, ["min-max ranges"]);
        let mut bench = Fake::new(4, |r: &Recipe| if r.bias_correction { 0.2 } else { 3.0 });
        let found = climb(&bits(8), 0.5, ALL, &mut bench).unwrap().unwrap();
        assert_eq!(found, bits(8), "the default recipe is a step");
        assert_eq!(bench.measured.len(), 3);
    }

    #[test]
    fn dear_steps_start_from_the_best_cheap_one() {
        let loss = |r: &Recipe| match (r.calibration, r.weight_rounding) {
            (Calibration::Entropy, WeightRounding::Learned) => 0.0,
            (Calibration::Entropy, _) => 2.0,
            _ => 3.0,
        };
        let found = climb(&bits(8), 1.0, ALL, &mut Fake::new(4, loss)).unwrap().unwrap();
        assert_eq!((found.calibration, found.weight_rounding), (Calibration::Entropy, WeightRounding::Learned));
        let without = Allowed { learning: false, ..ALL };
        let found = climb(&bits(8), 1.0, without, &mut Fake::new(4, loss)).unwrap();
        assert_eq!(found, None, "no number of float layers helps here");
    }

    #[test]
    fn as_few_layers_as_hold_stay_float() {
        for needed in [1, 2, 3, 5, 8, 13, 19] {
            let mut bench = Fake::new(20, |r: &Recipe| needed as f64 - r.exclude.len() as f64);
            let found = climb(&bits(8), 0.0, Allowed { learning: false, ..ALL }, &mut bench).unwrap().unwrap();
            assert_eq!(found.exclude, (0..needed).map(|i| format!("layer{i}")).collect::<Vec<_>>());
            let mixed = bench.measured.iter().filter(|name| name.contains("mixed")).count();
            assert!(mixed <= 9, "{needed}: {:?}", bench.measured);
        }
        let mut all = Fake::new(20, |r: &Recipe| 20.0 - r.exclude.len() as f64);
        assert_eq!(climb(&bits(8), 0.0, ALL, &mut all).unwrap(), None, "a float model is no result");
        let mut none = Fake::new(0, |_| 1.0);
        assert_eq!(climb(&bits(8), 0.0, ALL, &mut none).unwrap(), None);
    }

    #[test]
    fn narrow_weights_are_widened_before_layers_stay_float() {
        let eight = |r: &Recipe| r.overrides.values().filter(|o| o.weights == Some(WeightBits::default())).count();
        let mut bench = Fake::new(10, move |r: &Recipe| 4.0 - eight(r) as f64);
        let found = climb(&bits(4), 1.0, ALL, &mut bench).unwrap().unwrap();
        assert_eq!((found.overrides.len(), found.exclude.len()), (3, 0));
        assert!(bench.measured.iter().any(|name| name == "mixed precision: 3 of 10 layers with 8-bit weights"));
        let fixed = Allowed { wider: false, float: false, learning: true };
        assert_eq!(climb(&bits(4), 1.0, fixed, &mut Fake::new(10, |_| 2.0)).unwrap(), None);
    }

    #[test]
    fn estimates_are_confirmed() {
        // Learning helps, but not enough: mixed precision stands on it.
        let loss = |r: &Recipe| match r.weight_rounding {
            WeightRounding::Learned => 5.05 - r.overrides.len() as f64,
            _ => 50.0,
        };
        let mut bench = Fake::new(10, loss);
        let found = climb(&bits(4), 1.0, ALL, &mut bench).unwrap().unwrap();
        // The estimate is content with 4; 4.05 are needed, so 5.
        assert_eq!((found.overrides.len(), found.weight_rounding), (5, WeightRounding::Learned));
        let learned = bench.measured.iter().filter(|name| name.contains("mixed")).count();
        assert_eq!((learned, bench.estimated > 2), (2, true), "{:?}", bench.measured);
    }

    #[test]
    fn what_was_chosen_on_purpose_is_kept() {
        let base = Recipe { calibration: Calibration::Percentile, bias_correction: false, ..bits(8) };
        let mut seen = Fake::new(2, |_| 9.0);
        climb(&base, 1.0, ALL, &mut seen).unwrap();
        let kept = simple(&base);
        assert!(kept.iter().all(|(_, r)| r.calibration == Calibration::Percentile && !r.bias_correction));
        assert!(seen.measured.len() < 8, "equal recipes are measured once: {:?}", seen.measured);
    }

    #[test]
    fn other_modes_have_the_steps_that_concern_them() {
        let mut bench = Fake::new(3, |_| 9.0);
        climb(&Recipe::new(Mode::Float16), 1.0, ALL, &mut bench).unwrap();
        assert_eq!(bench.measured.len(), 2 + 2, "{:?}", bench.measured);
        let mut bench = Fake::new(3, |_| 9.0);
        climb(&Recipe::new(Mode::Dynamic), 1.0, ALL, &mut bench).unwrap();
        let names = bench.measured.join("; ");
        assert!(names.contains("learned") && names.contains("weight scales") && !names.contains("ranges"), "{names}");
    }
}
