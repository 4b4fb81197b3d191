use crate::mix::{mix, scale};

/// Draws an index by weight in constant time.
///
/// Source: Vose, "A Linear Algorithm for Generating Random Numbers with a Given Distribution" (1991), in whole numbers.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    /// Of `total` draws in a cell those below `keep` are the cell's own, the others its `other`'s.
    cells: Box<[Cell]>,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    keep: u64,
    other: usize,
}

impl Alias {
    /// Takes one weight for each index. Without any weight nothing can be drawn.
    pub(crate) fn new(weights: impl ExactSizeIterator<Item = u32>) -> Self {
        let count = weights.len() as u64;
        let weights: Vec<u64> = weights.map(u64::from).collect();
        let total: u64 = weights.iter().sum();
        // Scaled by their number, so that a cell of mean weight is exactly full: at most 2^32 * 2^32 for as many
        // indices as fit memory.
        let mut cells: Vec<Cell> =
            weights.iter().enumerate().map(|(i, w)| Cell { keep: w * count, other: i }).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..cells.len()).partition(|&i| cells[i].keep < total);
        while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
            small.pop();
            cells[poor].other = rich;
            cells[rich].keep -= total - cells[poor].keep;
            if cells[rich].keep < total {
                large.pop();
                small.push(rich);
            }
        }
        Self { cells: cells.into(), total }
    }

    /// The index that `random` draws; none if no index has weight.
    pub(crate) fn pick(&self, random: u64) -> Option<usize> {
        if self.total == 0 {
            return None;
        }
        let index = usize::try_from(scale(random, self.cells.len() as u64)).ok()?;
        let cell = self.cells.get(index)?;
        // Mixed again: the high bits, which chose the cell, must not choose within it as well.
        let inside = scale(mix(random), self.total);
        Some(if inside < cell.keep { index } else { cell.other })
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cells_hold_each_weight_exactly() {
        for weights in [vec![1, 2, 3, 4], vec![0, 5, 0, 1], vec![u32::MAX, 1, u32::MAX], vec![7]] {
            let alias = Alias::new(weights.iter().copied());
            let mut shares = vec![0; weights.len()];
            for (i, cell) in alias.cells.iter().enumerate() {
                shares[i] += cell.keep;
                shares[cell.other] += alias.total - cell.keep;
            }
            let wanted: Vec<_> = weights.iter().map(|&w| u64::from(w) * weights.len() as u64).collect();
            assert_eq!(shares, wanted);
        }
    }
}
