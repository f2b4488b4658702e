# Sourced by the scripts that take something from Debian which this system's own lists do not have. apt verifies it: the
# archive's signed release file names the index, and the index the hashes. Lists of our own below $work: the system's are
# neither read nor written, so this needs no root.

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The addresses of the system's own Debian mirror, release and security, one "address kind" a line.
mirrors() {
    local codename
    codename=$(. /etc/os-release && printf %s "$VERSION_CODENAME")
    apt-get indextargets --format '$(REPO_URI) $(CODENAME)' | sort -u | while read -r uri name; do
        case $name in
        "$codename") printf '%s release\n' "$uri" ;;
        "$codename-security") printf '%s security\n' "$uri" ;;
        esac
    done
}

# own_apt write_sources: `apt` becomes an apt-get whose sources are what that function makes of the mirrors' lines.
own_apt() {
    mkdir -p lists/partial cache/archives/partial
    if [ -z "$(mirrors)" ]; then
        # Fresh installations have sources, but no lists yet; these are then kept apart, too.
        echo "no package lists on this system: run apt-get update first"
        return 1
    fi
    mirrors | "$1" >sources.list
    cat sources.list
    apt=(apt-get -q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o Acquire::Retries=3
        -o Acquire::AllowInsecureRepositories=false -o APT::Get::AllowUnauthenticated=false
        -o Acquire::Languages=none -o "APT::Sandbox::User=$(id -un)")
    "${apt[@]}" update
}
