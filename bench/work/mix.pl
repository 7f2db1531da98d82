# bench/work/mix.pl: hashes, regular expressions, sorting, sprintf in Perl.
my ($total, %words, @lines) = (0);
for my $i (1 .. 100000) {
    my $line = sprintf("%d: key%d=%s;", $i, $i % 701, "v" x ($i % 9));
    $words{$1} += length $2 if $line =~ /(key\d+)=(v*);/;
    push @lines, $line if $i % 7 == 0;
}
$total = ($total * 31 + $words{$_}) % 1000003 for sort keys %words;
$total = ($total + length(join "-", reverse split /[:;=]/)) % 1000003 for sort @lines;
print "$total\n";
