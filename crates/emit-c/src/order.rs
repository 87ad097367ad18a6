//! The order of the steps: where there is freedom, the one that needs the least memory at once.

/// What a step reads and makes, as indices of values with sizes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    pub(crate) reads: Vec<usize>,
    pub(crate) makes: Vec<usize>,
    pub(crate) scratch: usize,
}

/// An order that takes, of the steps that are ready, the one after which least is alive.
///
/// `bytes[v]` is the size of value `v`, 0 for those outside of the arena.
pub(crate) fn frugal(steps: &[Work], bytes: &[usize]) -> Vec<usize> {
    let mut readers = vec![0usize; bytes.len()];
    let mut maker = vec![None; bytes.len()];
    for (i, step) in steps.iter().enumerate() {
        for &v in &step.reads {
            readers[v] += 1;
        }
        for &v in &step.makes {
            maker[v] = Some(i);
        }
    }
    let mut done = vec![false; steps.len()];
    let mut order = Vec::with_capacity(steps.len());
    while order.len() < steps.len() {
        let ready = (0..steps.len()).filter(|&i| !done[i]).filter(|&i| {
            let made = |v: &usize| maker[*v].is_none_or(|m| done[m]);
            steps[i].reads.iter().all(made)
        });
        let growth = |i: usize| {
            let step = &steps[i];
            let made: usize = step.makes.iter().map(|&v| bytes[v]).sum();
            let freed: usize = step.reads.iter().filter(|&&v| readers[v] == 1).map(|&v| bytes[v]).sum();
            (made as i128 - freed as i128, made + step.scratch, i)
        };
        // Steps are those of a sorted graph: there is always one whose inputs are made.
        let Some(next) = ready.min_by_key(|&i| growth(i)) else { return (0..steps.len()).collect() };
        done[next] = true;
        for &v in &steps[next].reads {
            readers[v] -= 1;
        }
        order.push(next);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_that_shrink_come_first() {
        // 0 makes a; 1 widens a to b; 2 narrows a to c; 3 narrows b to d; 4 joins c and d.
        let work = |reads: &[usize], makes: &[usize]| Work { reads: reads.to_vec(), makes: makes.to_vec(), scratch: 0 };
        let steps = [work(&[], &[0]), work(&[0], &[1]), work(&[0], &[2]), work(&[1], &[3]), work(&[2, 3], &[4])];
        let order = frugal(&steps, &[100, 400, 10, 10, 10]);
        assert_eq!(order, [0, 2, 1, 3, 4]);
    }
}
