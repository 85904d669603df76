# What Mail::SPF says of each case of SPF: `mail_spf.pl CASES`, lines of id and verdict between a tab.

use strict;
use warnings;

use JSON::PP;
use Mail::SPF;
use Net::DNS;
use Net::DNS::Resolver::Programmable;

my $text = do { local (@ARGV, $/) = ($ARGV[0]); <> };
my $cases = JSON::PP->new->utf8->decode($text);
my $zone;

sub records {
    my ($name, $kind) = @_;
    $name = lc $name;
    my @found;
    for (1 .. 8) {
        my $entries = $zone->{$name} or return ("NXDOMAIN", undef, @found);
        if (my $alias = $entries->{CNAME}) {
            push @found, Net::DNS::RR->new(name => $name, type => "CNAME", ttl => 60, cname => $alias->[0]);
            ($name = lc $alias->[0]) =~ s/\.$//;
            next;
        }
        my @data = @{ $entries->{$kind} // [] };
        return ("SERVFAIL", undef) if !@data && $entries->{silent};
        my %field = (A => "address", AAAA => "address", PTR => "ptrdname", TXT => "txtdata");
        for my $value (@data) {
            my @fields = $kind eq "MX"
                ? (preference => $value->[0], exchange => $value->[1])
                : ($field{$kind} => $kind eq "TXT" ? [ $value ] : $value);
            push @found, Net::DNS::RR->new(name => $name, type => $kind, ttl => 60, @fields);
        }
        return ("NOERROR", undef, @found);
    }
    return ("SERVFAIL", undef);
}

my $resolver = Net::DNS::Resolver::Programmable->new(resolver_code => sub {
    my ($name, $kind) = @_;
    # As zone files have it: octets that are special there are escaped.
    $name =~ s/\\(\d{3}|.)/length $1 == 3 ? chr $1 : $1/ge;
    return records($name, $kind);
});
my $server = Mail::SPF::Server->new(dns_resolver => $resolver, query_rr_types => Mail::SPF::Server->query_rr_type_txt);

binmode STDOUT, ":utf8";
for my $case (@{ $cases->{spf} }) {
    $zone = $cases->{zones}[ $case->{zone} ];
    my $verdict = eval {
        my $by_name = $case->{mailfrom} eq "";
        my $request = Mail::SPF::Request->new(
            scope => $by_name ? "helo" : "mfrom",
            identity => $by_name ? $case->{helo} : $case->{mailfrom},
            ip_address => $case->{host},
            helo_identity => $case->{helo},
        );
        $server->process($request)->code;
    };
    $verdict //= "error: " . (split /\n/, "$@")[0];
    print "$case->{id}\t$verdict\n";
}
