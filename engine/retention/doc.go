// Package retention decides which of a list of dated things stay, which go, and why.
//
// Every prune of nixmox asks it: backup archives, ZFS snapshots, generations of a system. It has to be one package because
// this is where tools of this kind lose data, and a mistake is better found once.
//
// The counting is Proxmox VE's own (mark.go), so that "keep-daily=7" keeps here what it keeps there. What nixmox adds only
// ever makes more stay. Rules count the periods that hold something, not the days on a calendar. A machine that was off for a
// year, or backups that failed for a month, cost nothing: "keep-daily=7" keeps the last seven days on which there was a backup,
// however long ago. Days and hours are those of UTC, unless the rules name a place.
//
// These hold for every list and all rules; TestInvariants holds a hundred thousand random histories to each of them, by number.
// What counts is what is left after 2, 3 and 4; the newest is that of the highest order of creation, and only where that is not
// known, of the latest date.
//
//  1. Each thing gets one verdict, with a reason: by group, in each the newest first. The list itself is not touched.
//  2. What is not marked as made by nixmox stays. A function may take something for marked that somebody told it to, by name.
//  3. What is protected or held stays.
//  4. What has a date that cannot be right stays, because its age is not known.
//  5. What stays by 2, 3 or 4 makes no difference to what becomes of the rest.
//  6. The newest of each group that counts stays, also if it is the only one, and whether or not anybody has read it.
//  7. The newest that counts and is marked verified stays, because the ones after it may all be bad.
//  8. In each group at least the minimum stays of what counts, and never fewer than one.
//  9. The newest so many stay that keep-last says. A rule of a period keeps one thing each of so many periods at most, and of the
//     newest so many periods that hold something the newest thing stays, by this rule or another. (Two exceptions: where the
//     order of creation contradicts the dates, and, as in Proxmox, months and years beside a rule that counts weeks.)
//  10. A day on which clocks change is one day, be it 23 or 25 hours long. The hour that comes twice is two hours.
//  11. Pruning what is left removes nothing, and a prune that was interrupted, when it is made again, ends as if it had not been.
//  12. The order of the list makes no difference, and neither does the time that has passed.
//  13. What is in one group makes no difference to another.
//  14. Higher counts keep whatever lower ones kept, weeks aside, and so does a higher minimum.
//  15. If the clock looks wrong, nothing is decided on anything, and the error says why (clock.go): it shows a time before nixmox
//     was made, or something that counts is dated later than it. A clock that does not look wrong is never refused.
//  16. Without a rule that counts anything, everything stays.
//
// The package must not know what the things are, where they lie or how they are removed. It is pure: it reads no clock, no
// files and no settings, and the same input in any order gives the same decision. It imports nothing of nixmox.
package retention
