//! Changes of training samples that do not change what they show.

use std::str::FromStr;

use fewbits_graph::{Dim, Tensor, Value};

use super::random::Random;

/// How samples are changed; everything off by default. Numbers of pixels are of the model's input.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augment {
    /// Mirror half of the images.
    pub flip: bool,
    /// Shift images by up to this many pixels on both axes; their border is repeated.
    pub crop: usize,
    /// Shift features by up to this many steps along their first axis (time); the border is repeated.
    pub shift: usize,
    /// Change brightness by up to this share of an image's standard deviation, and contrast by up to
    /// this share of itself.
    pub color: f32,
    /// Add normal noise of this share of a sample's standard deviation.
    pub noise: f32,
    /// Mix pairs of samples with weights from Beta(a, a), 0 < a ≤ 1 (Zhang et al., "mixup", ICLR 2018).
    pub mixup: f32,
}

impl FromStr for Augment {
    type Err = String;

    /// `flip,crop=4,color=0.2,noise=0.05,shift=2,mixup=0.2`, any of them.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut augment = Augment::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = part.split_once('=').map_or((part, None), |(n, v)| (n, Some(v)));
            let number = |what: &str, most: f32| {
                let n = value.and_then(|v| v.parse::<f32>().ok()).filter(|n| (0.0..=most).contains(n));
                n.ok_or_else(|| format!("`{name}` needs {what}, as {name}=…, got '{part}'"))
            };
            let pixels = || number("a number of pixels", 1e6).map(|n| n as usize);
            match name {
                "flip" if value.is_none() => augment.flip = true,
                "crop" => augment.crop = pixels()?,
                "shift" => augment.shift = pixels()?,
                "color" => augment.color = number("a share from 0 to 1", 1.0)?,
                "noise" => augment.noise = number("a share from 0 to 10", 10.0)?,
                "mixup" => augment.mixup = number("a number from 0 to 1", 1.0)?,
                _ => return Err(format!("'{part}' is none of flip, crop=N, shift=N, color=X, noise=X, mixup=X")),
            }
        }
        Ok(augment)
    }
}

/// Where the axes of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    height: usize,
    width: usize,
    channels: usize,
    /// Channels stand before the pixels.
    first: bool,
}

impl Layout {
    /// That of an input with one, three or four channels, at either end.
    fn of(shape: &[usize]) -> Option<Layout> {
        let channels = |n: usize| matches!(n, 1 | 3 | 4);
        match *shape {
            [_, height, width, c] if channels(c) => Some(Layout { height, width, channels: c, first: false }),
            [_, c, height, width] if channels(c) => Some(Layout { height, width, channels: c, first: true }),
            _ => None,
        }
    }

    fn index(&self, y: usize, x: usize, c: usize) -> usize {
        match self.first {
            true => (c * self.height + y) * self.width + x,
            false => (y * self.width + x) * self.channels + c,
        }
    }

    /// The image moved by whole pixels and perhaps mirrored; its border is repeated.
    fn moved(&self, image: &[f32], dy: isize, dx: isize, mirror: bool) -> Vec<f32> {
        let within = |at: usize, by: isize, size: usize| at.saturating_add_signed(by).min(size - 1);
        let mut out = vec![0.0; image.len()];
        for y in 0..self.height {
            let from_y = within(y, dy, self.height);
            for x in 0..self.width {
                let seen = if mirror { self.width - 1 - x } else { x };
                let from_x = within(seen, dx, self.width);
                for c in 0..self.channels {
                    out[self.index(y, x, c)] = image[self.index(from_y, from_x, c)];
                }
            }
        }
        out
    }
}

/// How labels were mixed: the weight of a row's own, and for each row the other that was mixed in.
pub(super) struct Mix {
    pub(super) own: f32,
    pub(super) other: Vec<usize>,
}

impl Augment {
    /// Whether there is nothing to do.
    pub fn is_none(&self) -> bool {
        *self == Augment::default()
    }

    /// What cannot be done to inputs like these, in words.
    pub(super) fn check(&self, inputs: &[Value]) -> Result<(), String> {
        let fixed = |v: &Value| v.shape.0.iter().map(|d| Dim::fixed(d).unwrap_or(0)).collect::<Vec<_>>();
        let images = inputs.iter().any(|v| v.dtype.is_float() && Layout::of(&fixed(v)).is_some());
        let floats = inputs.iter().any(|v| v.dtype.is_float());
        match self {
            Augment { flip: true, .. } | Augment { crop: 1.., .. } if !images => {
                Err("flip and crop are for images: no input has one, three or four channels".to_owned())
            }
            _ if !self.is_none() && !floats => Err("no input is of floats, so none can be augmented".to_owned()),
            _ => Ok(()),
        }
    }

    /// Changes the samples of a batch in place; `random` decides.
    pub(super) fn apply(&self, inputs: &mut [Tensor], random: &mut Random) -> Option<Mix> {
        let rows = inputs.first().and_then(|t| t.shape().first().copied()).unwrap_or(0);
        let mix =
            (self.mixup > 0.0 && rows > 1).then(|| Mix { own: random.beta(self.mixup), other: random.order(rows) });
        for tensor in inputs.iter_mut().filter(|t| t.as_slice::<f32>().is_some()) {
            let (shape, mut data) = (tensor.shape().to_vec(), tensor.to_f32());
            let row = data.len() / rows.max(1);
            for sample in data.chunks_exact_mut(row.max(1)) {
                self.sample(sample, &shape, random);
            }
            if let Some(mix) = &mix {
                let before = data.clone();
                for (r, sample) in data.chunks_exact_mut(row.max(1)).enumerate() {
                    let other = &before[mix.other[r] * row..][..row];
                    sample.iter_mut().zip(other).for_each(|(a, b)| *a = mix.own * *a + (1.0 - mix.own) * b);
                }
            }
            *tensor = Tensor::new(shape, data);
        }
        mix
    }

    fn sample(&self, sample: &mut [f32], shape: &[usize], random: &mut Random) {
        let mut by = |most: usize| random.below(2 * most + 1) as isize - most as isize;
        if let Some(layout) = Layout::of(shape) {
            let (dy, dx) = (by(self.crop), by(self.crop));
            let mirror = self.flip && random.below(2) == 1;
            if mirror || (dy, dx) != (0, 0) {
                sample.copy_from_slice(&layout.moved(sample, dy, dx, mirror));
            }
        }
        if self.shift > 0 && shape.len() > 2 {
            let by = random.below(2 * self.shift + 1) as isize - self.shift as isize;
            let step = sample.len() / shape[1].max(1);
            let before = sample.to_vec();
            for (t, out) in sample.chunks_exact_mut(step.max(1)).enumerate() {
                let from = t.saturating_add_signed(by).min(shape[1] - 1);
                out.copy_from_slice(&before[from * step..][..step]);
            }
        }
        if self.color > 0.0 || self.noise > 0.0 {
            let n = sample.len().max(1) as f64;
            let mean = sample.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let variance = sample.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
            let (mean, deviation) = (mean as f32, variance.sqrt() as f32);
            if self.color > 0.0 {
                let (shift, gain) = (self.color * random.signed() * deviation, 1.0 + self.color * random.signed());
                sample.iter_mut().for_each(|x| *x = (*x - mean) * gain + mean + shift);
            }
            if self.noise > 0.0 {
                sample.iter_mut().for_each(|x| *x += self.noise * deviation * random.normal());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_others_refused() {
        let augment: Augment = "flip, crop=4,mixup=0.2".parse().unwrap();
        assert_eq!(augment, Augment { flip: true, crop: 4, mixup: 0.2, ..Augment::default() });
        for wrong in ["flop", "crop", "crop=x", "mixup=2", "flip=1", "noise=-1"] {
            assert!(wrong.parse::<Augment>().unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn images_move_alike_in_both_layouts() {
        // 2 × 5 pixels of one channel are the same numbers in either layout.
        let image: Vec<f32> = (1..=10).map(|i| i as f32).collect();
        for shape in [[1, 2, 5, 1], [1, 1, 2, 5]] {
            let layout = Layout::of(&shape).unwrap();
            assert_eq!(layout.moved(&image, 0, 0, true), [5.0, 4.0, 3.0, 2.0, 1.0, 10.0, 9.0, 8.0, 7.0, 6.0]);
            assert_eq!(layout.moved(&image, 1, -1, false), [6.0, 6.0, 7.0, 8.0, 9.0, 6.0, 6.0, 7.0, 8.0, 9.0]);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_samples() {
        let augment: Augment = "flip,crop=1,color=0.3,noise=0.1,shift=1,mixup=0.4".parse().unwrap();
        let batch = || vec![Tensor::new(vec![4, 3, 3, 1], (0..36).map(|i| i as f32).collect())];
        let (mut a, mut b, mut c) = (batch(), batch(), batch());
        let mix = augment.apply(&mut a, &mut Random::new(&[7, 1])).unwrap();
        augment.apply(&mut b, &mut Random::new(&[7, 1]));
        augment.apply(&mut c, &mut Random::new(&[7, 2]));
        assert!((0.0..=1.0).contains(&mix.own));
        assert_eq!(a[0].to_f32(), b[0].to_f32());
        assert_ne!(a[0].to_f32(), c[0].to_f32());
        assert!(a[0].to_f32() != batch()[0].to_f32());
    }
}
