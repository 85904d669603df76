//! Values under small numbers that are used again: an arena that gives memory back, a page at a time.
//!
//! Pure. New values go into the lowest page with room, so that the upper pages empty and are freed.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

/// The values. A number names its value until that is removed.
#[derive(Debug)]
pub struct Pages<T> {
    all: Vec<Page<T>>,
    /// Pages that have room.
    roomy: BTreeSet<u32>,
    len: usize,
}

#[derive(Debug)]
struct Page<T> {
    places: Vec<Place<T>>,
    used: u32,
    free: Option<u32>,
}

#[derive(Debug)]
enum Place<T> {
    Used(T),
    /// The next free one of the page.
    Free(Option<u32>),
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            used: 0,
            free: None,
        }
    }
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            roomy: BTreeSet::new(),
            len: 0,
        }
    }
}

impl<T> Pages<T> {
    /// Values.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Puts a value in.
    pub fn insert(&mut self, value: T) -> NonZeroU32 {
        let number = self.roomy.first().copied().unwrap_or_else(|| {
            let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
            self.all.push(Page::default());
            self.roomy.insert(number);
            number
        });
        let mut place = 0;
        if let Some(page) = self.all.get_mut(number as usize) {
            place = page.insert(value);
            self.len += 1;
            if page.used == PAGE {
                self.roomy.remove(&number);
            }
        }
        NonZeroU32::MIN.saturating_add(number * PAGE + place)
    }

    /// The value.
    pub fn get(&self, number: NonZeroU32) -> Option<&T> {
        let (page, place) = split(number);
        match self.all.get(page)?.places.get(place)? {
            Place::Used(value) => Some(value),
            Place::Free(_) => None,
        }
    }

    /// The value, to be changed.
    pub fn get_mut(&mut self, number: NonZeroU32) -> Option<&mut T> {
        let (page, place) = split(number);
        match self.all.get_mut(page)?.places.get_mut(place)? {
            Place::Used(value) => Some(value),
            Place::Free(_) => None,
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, number: NonZeroU32) -> Option<T> {
        let (at, place) = split(number);
        let page = self.all.get_mut(at)?;
        let value = page.remove(place)?;
        self.len -= 1;
        self.roomy.insert(u32::try_from(at).ok()?);
        while self.all.last().is_some_and(|page| page.used == 0) {
            self.all.pop();
            self.roomy.remove(&u32::try_from(self.all.len()).ok()?);
        }
        Some(value)
    }
}

impl<T> Page<T> {
    fn insert(&mut self, value: T) -> u32 {
        self.used += 1;
        let free = self.free;
        if let Some(free) = free
            && let Some(place) = self.places.get_mut(free as usize)
            && let Place::Free(next) = *place
        {
            *place = Place::Used(value);
            self.free = next;
            return free;
        }
        self.places.push(Place::Used(value));
        u32::try_from(self.places.len() - 1).unwrap_or(PAGE)
    }

    fn remove(&mut self, at: usize) -> Option<T> {
        let place = self
            .places
            .get_mut(at)
            .filter(|place| matches!(place, Place::Used(_)))?;
        let Place::Used(value) = std::mem::replace(place, Place::Free(self.free)) else {
            return None;
        };
        self.free = u32::try_from(at).ok();
        self.used -= 1;
        if self.used == 0 {
            *self = Self::default();
        }
        Some(value)
    }
}

const fn split(number: NonZeroU32) -> (usize, usize) {
    let number = number.get() - 1;
    ((number / PAGE) as usize, (number % PAGE) as usize)
}

/// Values of a page.
const PAGE: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_memory_is_given_back() {
        let mut pages = Pages::default();
        for _ in 0..3 {
            let numbers: Vec<NonZeroU32> = (0..10_000).map(|value| pages.insert(value)).collect();
            assert_eq!((pages.len(), pages.all.len()), (10_000, 20));
            for (value, number) in (0..).zip(&numbers) {
                assert_eq!(pages.get(*number), Some(&value));
            }
            let (first, last) = numbers.split_at(7_777);
            for number in last.iter().rev().chain(first) {
                assert!(pages.remove(*number).is_some());
                assert_eq!(pages.remove(*number), None);
            }
            assert_eq!((pages.len(), pages.all.len(), pages.roomy.len()), (0, 0, 0));
        }
    }

    #[test]
    fn what_is_in_the_middle_of_a_page_is_taken_first() {
        let mut pages = Pages::default();
        let numbers: Vec<NonZeroU32> = (0..1_000).map(|value| pages.insert(value)).collect();
        pages.remove(numbers[600]);
        pages.remove(numbers[5]);
        pages.remove(numbers[7]);
        assert_eq!(pages.insert(0), numbers[7]);
        assert_eq!(pages.insert(0), numbers[5]);
        assert_eq!(pages.insert(0), numbers[600]);
    }
}
