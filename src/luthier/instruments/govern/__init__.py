"""Works on records only: policy, licence rules, approvals, audit chain, signing, cards."""
