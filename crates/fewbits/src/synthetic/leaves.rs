//! Images with the statistics of photographs, made of nothing.

use crate::shapes::SplitMix;

/// Radii of leaves, in shares of the image's smaller side.
const SMALLEST: f32 = 1.0 / 64.0;
const LARGEST: f32 = 1.0 / 3.0;

/// Leaves after which what is still bare shows the ground.
const MOST_LEAVES: usize = 4000;

/// A *dead leaves* image: discs and rectangles of random place, colour, shading and grain that hide
/// each other, with radii distributed as `r⁻³`. Its edges, occlusions and `1/f²` spectrum are those of
/// photographs (Lee, Mumford & Huang, "Occlusion Models for Natural Images", 2001), and networks that
/// learn from such images alone get far (Baradad et al., "Learning to See by Looking at Noise", 2021).
///
/// Returns `height × width × channels` numbers in `[0, 1]`, channels last. No function is used whose
/// value depends on the machine.
pub(super) fn dead_leaves(random: &mut SplitMix, height: usize, width: usize, channels: usize) -> Vec<f32> {
    let side = height.min(width) as f32;
    let (smallest, largest) = ((SMALLEST * side).max(1.0), LARGEST * side);
    let brightness = 0.45 + 0.15 * normal(random);
    let palette: Vec<f32> = (0..channels).map(|_| brightness + 0.12 * normal(random)).collect();
    let contrast = 0.12 + 0.3 * random.unit();
    let mut image: Vec<f32> = (0..height * width).flat_map(|_| palette.iter().copied()).collect();
    let mut bare = vec![true; height * width];
    let mut left = bare.len();
    for _ in 0..MOST_LEAVES {
        if left == 0 {
            break;
        }
        let leaf = Leaf::new(random, [height, width], [smallest, largest], &palette, contrast);
        let rows = leaf.reach(leaf.centre[0], height);
        for y in rows {
            for x in leaf.reach(leaf.centre[1], width) {
                let at = y * width + x;
                if !bare[at] || !leaf.covers(y, x) {
                    continue;
                }
                // What fell first lies on top: every pixel is painted once.
                bare[at] = false;
                left -= 1;
                leaf.paint(random, y, x, &mut image[at * channels..][..channels]);
            }
        }
    }
    image.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
    image
}

struct Leaf {
    centre: [f32; 2],
    radius: f32,
    /// Half extents and direction of a rectangle; a disc has none.
    rectangle: Option<([f32; 2], [f32; 2])>,
    colour: Vec<f32>,
    shading: [f32; 2],
    grain: f32,
}

impl Leaf {
    fn new(random: &mut SplitMix, size: [usize; 2], radii: [f32; 2], palette: &[f32], contrast: f32) -> Leaf {
        let inverse = |r: f32| 1.0 / (r * r);
        let (most, least) = (inverse(radii[0]), inverse(radii[1]));
        let radius = 1.0 / (most - (most - least) * random.unit()).sqrt();
        let centre = size.map(|n| random.unit() * (n as f32 + 2.0 * radius) - radius);
        let light = contrast * normal(random);
        let colour = palette.iter().map(|c| c + light + 0.1 * normal(random)).collect();
        let rectangle = (random.unit() < 0.5).then(|| {
            let (a, b) = (random.unit() - 0.5, random.unit() - 0.5);
            let length = (a * a + b * b).sqrt().max(1e-6);
            ([radius, radius * (0.2 + 0.8 * random.unit())], [a / length, b / length])
        });
        let slope = 0.3 / radii[1];
        let shading = [slope * normal(random) / 3.0, slope * normal(random) / 3.0];
        Leaf { centre, radius, rectangle, colour, shading, grain: 0.08 * random.unit() }
    }

    /// Pixels of one axis that the leaf may cover.
    fn reach(&self, centre: f32, size: usize) -> std::ops::Range<usize> {
        // The corner of a rectangle is √2 away. Negative numbers become 0.
        let reach = 1.5 * self.radius;
        (centre - reach) as usize..((centre + reach + 1.0) as usize).min(size)
    }

    fn covers(&self, y: usize, x: usize) -> bool {
        let (dy, dx) = (y as f32 - self.centre[0], x as f32 - self.centre[1]);
        match self.rectangle {
            Some((half, [a, b])) => (dy * a + dx * b).abs() < half[0] && (dx * a - dy * b).abs() < half[1],
            None => dy * dy + dx * dx < self.radius * self.radius,
        }
    }

    fn paint(&self, random: &mut SplitMix, y: usize, x: usize, pixel: &mut [f32]) {
        let (dy, dx) = (y as f32 - self.centre[0], x as f32 - self.centre[1]);
        let light = self.shading[0] * dy + self.shading[1] * dx + self.grain * normal(random);
        pixel.iter_mut().zip(&self.colour).for_each(|(p, c)| *p = c + light);
    }
}

/// About normal: the sum of twelve uniform numbers.
pub(super) fn normal(random: &mut SplitMix) -> f32 {
    (0..12).map(|_| random.unit()).sum::<f32>() - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_edges_and_smooth_areas() {
        let image = dead_leaves(&mut SplitMix(3), 64, 64, 3);
        assert!(image.iter().all(|x| (0.0..=1.0).contains(x)));
        assert_eq!(image, dead_leaves(&mut SplitMix(3), 64, 64, 3));
        let variance =
            |pairs: &dyn Fn(usize) -> f32| (0..64 * 48).map(|i| pairs(i).powi(2)).sum::<f32>() / (64.0 * 48.0);
        // Near pixels are alike, far ones are not: noise has the same difference everywhere.
        let near = variance(&|i| image[3 * i] - image[3 * (i + 1)]);
        let far = variance(&|i| image[3 * i] - image[3 * (i + 64 * 15 + 16)]);
        assert!(near < 0.6 * far && far > 0.01, "{near} {far}");
    }
}
