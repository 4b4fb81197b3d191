//! What happens in each step: endpoints hang, are replaced as in a rolling update, and refuse; agents follow each other.

/// Steps until the other endpoint has its turn.
const TURN: usize = 12;
/// Turns until the agent is replaced.
const TERM: usize = 5;

/// What happens to the endpoint whose turn it is, or to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Nothing,
    /// It does nothing for a while: connections stay, requests wait.
    Hang,
    /// It ends, with what it has; nobody should wait for it any more.
    End,
    /// It starts again.
    Begin,
    /// The agent is replaced.
    Succeed,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scene {
    /// Whose turn it is.
    pub(super) endpoint: usize,
    pub(super) act: Act,
    is_out: bool,
}

impl Scene {
    pub(super) const fn of(step: usize) -> Self {
        let (turn, at) = (step / TURN, step % TURN);
        let act = match at {
            0 if turn % TERM == TERM - 1 => Act::Succeed,
            2 => Act::Hang,
            // Eight seconds behind the change: what it had under way has ended.
            8 => Act::End,
            // It was in the slice again before: a rollout that is too fast, whose connections are refused.
            10 => Act::Begin,
            _ => Act::Nothing,
        };
        Self { endpoint: turn % 2, act, is_out: at >= 4 && at <= 8 }
    }

    /// Which endpoints are in the slice.
    pub(super) const fn ready(self) -> [bool; 2] {
        [self.endpoint != 0 || !self.is_out, self.endpoint != 1 || !self.is_out]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_ends_was_out_for_a_while_and_begins_again() {
        let scenes: Vec<Scene> = (0..10 * TURN).map(Scene::of).collect();
        let mut ends = 0;
        for (step, scene) in scenes.iter().enumerate() {
            assert!(scene.ready().contains(&true), "{step}");
            if scene.act == Act::End {
                ends += 1;
                let waited = scenes[..=step].iter().rev().take_while(|scene| scene.is_out).count();
                assert!(waited >= 4 && scenes[step + 2].act == Act::Begin, "{step}");
                assert_eq!(scenes[step + 2].endpoint, scene.endpoint, "{step}");
                assert_eq!(scenes[step + 1].ready(), [true; 2], "{step}: it is refused");
            }
        }
        let agents = scenes.iter().filter(|scene| scene.act == Act::Succeed).count();
        assert_eq!((ends, agents), (10, 2));
    }
}
