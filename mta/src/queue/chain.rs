//! A queue in blocks: a million in it cost what they are, where one ring would be up to twice as large, and more while it
//! grows. Pure.

use std::collections::VecDeque;

/// First in, first out.
#[derive(Debug)]
pub struct Chain<T> {
    front: VecDeque<T>,
    /// What does not fit into the front; none of them is empty.
    rest: VecDeque<VecDeque<T>>,
}

impl<T> Default for Chain<T> {
    fn default() -> Self {
        Self {
            front: VecDeque::new(),
            rest: VecDeque::new(),
        }
    }
}

impl<T> Chain<T> {
    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.front.is_empty()
    }

    /// The next one.
    pub fn front(&self) -> Option<&T> {
        self.front.front()
    }

    /// Puts one at the end.
    pub fn push(&mut self, value: T) {
        if self.rest.is_empty() && self.front.len() < BLOCK {
            return self.front.push_back(value);
        }
        if let Some(block) = self.rest.back_mut().filter(|block| block.len() < BLOCK) {
            block.push_back(value);
        } else {
            let mut block = VecDeque::with_capacity(BLOCK);
            block.push_back(value);
            self.rest.push_back(block);
        }
    }

    /// Takes the next one out.
    pub fn pop(&mut self) -> Option<T> {
        let value = self.front.pop_front();
        if self.front.is_empty()
            && let Some(block) = self.rest.pop_front()
        {
            self.front = block;
        }
        value
    }

    /// Takes out what `wanted` says; the others keep their order.
    pub fn take_if(&mut self, wanted: impl Fn(&T) -> bool, mut taken: impl FnMut(T)) {
        if !self.front.iter().chain(self.rest.iter().flatten()).any(&wanted) {
            return;
        }
        let all = std::mem::take(self);
        for value in std::iter::once(all.front).chain(all.rest).flatten() {
            if wanted(&value) {
                taken(value);
            } else {
                self.push(value);
            }
        }
    }
}

/// Values of a block.
const BLOCK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_is_the_first_out_across_blocks() {
        let mut chain = Chain::default();
        let mut next = 0;
        for value in 0..5_000 {
            chain.push(value);
            if value % 3 == 0 {
                assert_eq!((chain.front().copied(), chain.pop()), (Some(next), Some(next)));
                next += 1;
            }
        }
        let mut taken = vec![];
        chain.take_if(|value| value % 2 == 0, |value| taken.push(value));
        assert!(taken.iter().all(|value| value % 2 == 0) && taken.is_sorted());
        let left: Vec<u32> = std::iter::from_fn(|| chain.pop()).collect();
        assert!(left.iter().all(|value| value % 2 == 1) && left.is_sorted());
        assert_eq!(left.len() + taken.len(), 5_000 - next as usize);
        assert!(chain.is_empty());
    }
}
