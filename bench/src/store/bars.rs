//! Figures, and what they are to reach.

/// What a figure is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

/// Prints figures and keeps whether all reached their bars.
#[derive(Debug)]
pub(crate) struct Bars {
    /// Figures of time are told, not judged.
    timeless: bool,
    missed: bool,
}

impl Bars {
    pub(crate) fn new(timeless: bool) -> Self {
        Self { timeless, missed: false }
    }

    pub(crate) fn all_reached(&self) -> bool {
        !self.missed
    }

    /// The median of a figure that does not depend on the machine.
    #[expect(clippy::print_stdout, reason = "a command-line program")]
    pub(crate) fn judge(&mut self, what: &str, figures: Vec<f64>, bar: Bar) {
        let figure = median(figures);
        let (reached, word, bar) = match bar {
            Bar::AtLeast(bar) => (figure >= bar, "at least", bar),
            Bar::AtMost(bar) => (figure <= bar, "at most", bar),
        };
        self.missed |= !reached;
        let verdict = if reached { "reached" } else { "MISSED" };
        println!("median: {what}: {figure:.3} ({word} {bar}: {verdict})");
    }

    /// The median of a figure of time.
    pub(crate) fn judge_time(&mut self, what: &str, figures: Vec<f64>, bar: Bar) {
        match self.timeless {
            true => self.tell(what, figures),
            false => self.judge(what, figures, bar),
        }
    }

    /// The median of a figure without a bar.
    #[expect(clippy::print_stdout, reason = "a command-line program")]
    pub(crate) fn tell(&self, what: &str, figures: Vec<f64>) {
        println!("median: {what}: {:.3}", median(figures));
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
