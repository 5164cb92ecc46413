"""Servers that compute windows and the edge that sends them.

Of a picture of T pixels whose largest window is made of m of them, the bound of one of k servers is
T / k + (1 - 1 / k) m (`paperlib.pedsam.split.partition.bound`), or 0 where m = T: a picture that
one window shows is computed on the edge. One server alone sees all of every picture.

| who                | what is promised                          | what is not                     |
|--------------------|-------------------------------------------|---------------------------------|
| a curious server   | at most its bound, or the exposure limit, | that tokens of later rounds tell|
|                    | of a picture's pixels: over shapes,       | it nothing of the rest; that the|
|                    | repeats, crops and frames of an open      | picture's shape is secret       |
|                    | picture, retries, spares (`ledger`)       |                                 |
| colluding servers  | at most the sum of their bounds           | anything, if it is all of them  |
| a server that lies | nothing out of range gets in; r checks of | a lie within the range where    |
|                    | n windows notice m false ones with        | nothing is checked; less than   |
|                    | probability 1 - C(n-m, r) / C(n, r) a     | 3 % of a token; rounds before it|
|                    | round, strict ones all; it is replaced    | was caught                      |
|                    | and not used again (`honesty`)            |                                 |
| a server that reads| the same: one whose false windows are     | without checks, that it learns  |
| by tokens that it  | noticed is sent no tokens of that picture | no more of other windows than a |
| chooses            | or of another; pixels-once sends none     | curious one; before it is caught|
| whoever is on      | mutual TLS: nothing is read or changed    | that sizes and times of messages|
| the wire           | (`certificates`)                          | are secret                      |
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when gRPC is imported; ours say more
